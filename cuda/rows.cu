// Rows of a matrix taken by number, and gradients added to the rows that they belong to.
#include "common.cuh"

// target[i, :] = rows[indices[i], :]
extern "C" __global__ void take_rows(const float *rows, const int *indices, float *target,
                                     int count, int width) {
    for_each(i, count) target[i] = rows[static_cast<int64>(indices[i / width]) * width + i % width];
}

// target[numbers[g], :] += the rows order[starts[g]], ..., order[starts[g + 1] - 1], in this order.
extern "C" __global__ void add_rows(const float *rows, const int *order, const int *starts,
                                    const int *numbers, float *target, int groups, int width) {
    for_each(i, groups * width) {
        const int group = i / width, column = i % width;
        float sum = 0;
        for (int at = starts[group]; at < starts[group + 1]; ++at)
            sum += rows[static_cast<int64>(order[at]) * width + column];
        target[static_cast<int64>(numbers[group]) * width + column] += sum;
    }
}
