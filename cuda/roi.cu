// Patches of one size cut out of maps (N, C, H, W), and their gradients put back where they were.
#include "common.cuh"

// Where a patch lies, counted from 0.
struct Corner {
    int image, row, column;
};

extern "C" __global__ void roi_forward(const float *x, const Corner *corners, float *top,
                                       int channels, int height, int width, int patch_height,
                                       int patch_width, int count) {
    for_each(i, count) {
        const int column = i % patch_width, row = i / patch_width % patch_height;
        const int plane = i / patch_width / patch_height;
        const Corner corner = corners[plane / channels];
        const int64 from = int64(corner.image) * channels + plane % channels;
        top[i] = x[(from * height + corner.row + row) * width + corner.column + column];
    }
}

// Image n has the patches order[starts[n]], ..., order[starts[n + 1] - 1]. Where they overlap their
// gradients are added in this order, by the one thread that writes the sum.
extern "C" __global__ void roi_backward(const float *top_diff, const Corner *corners,
                                        const int *order, const int *starts, float *x_diff,
                                        int channels, int height, int width, int patch_height,
                                        int patch_width, int count) {
    for_each(i, count) {
        const int column = i % width, row = i / width % height, plane = i / width / height;
        const int image = plane / channels, channel = plane % channels;
        const int end = starts[image + 1];
        float sum = 0;
        for (int at = starts[image]; at < end; ++at) {
            const int patch = order[at];
            const int r = row - corners[patch].row, c = column - corners[patch].column;
            if (r < 0 || r >= patch_height || c < 0 || c >= patch_width) continue;
            const int64 from = int64(patch) * channels + channel;
            sum += top_diff[(from * patch_height + r) * patch_width + c];
        }
        x_diff[i] = sum;
    }
}
