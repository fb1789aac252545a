// Copies of parts of arrays: Concat, Slice, Crop, Tile; and the sums that run against them.
//
// An array is taken four elements at a time where all places and lengths allow it. Every output is
// written by one thread, so that sums are the same from run to run.
#include "vectors.cuh"

// As many arrays as one launch takes beside the one that they are parts of; null is none.
#define MOST 8
#define EIGHT(TYPE, NAME) \
    TYPE NAME##0, TYPE NAME##1, TYPE NAME##2, TYPE NAME##3, \
    TYPE NAME##4, TYPE NAME##5, TYPE NAME##6, TYPE NAME##7
#define LIST(NAME) NAME##0, NAME##1, NAME##2, NAME##3, NAME##4, NAME##5, NAME##6, NAME##7

// Pieces in a whole: its rows have `row` elements; from element `first` on, the rows of the pieces
// follow each other, and the last element of piece k's is before end[k]. Pieces that a launch has not
// end where the last one does.
template <typename Piece>
struct Pieces {
    Piece piece[MOST];
    int end[MOST], row, first;
};

// copy(width, one, other) for the places of the same elements in the whole and in a piece.
template <typename Whole, typename Piece, typename Copy>
__device__ __forceinline__ void for_pieces(Whole whole, const Pieces<Piece> pieces, int count,
                                           Copy copy) {
    const int span = pieces.end[MOST - 1];
    bool fours = aligned(whole) && pieces.row % 4 == 0 && pieces.first % 4 == 0;
#pragma unroll
    for (int k = 0; k < MOST; ++k)
        fours = fours && pieces.end[k] % 4 == 0 && aligned(pieces.piece[k]);
    for_vectors(count, fours, [=](auto width, int i) {
        const int64 outer = i / span;
        const int at = i % span;
        Piece piece = pieces.piece[0];
        int start = 0, end = pieces.end[0];
#pragma unroll
        for (int k = 1; k < MOST; ++k)
            if (at >= pieces.end[k - 1]) {
                piece = pieces.piece[k];
                start = pieces.end[k - 1];
                end = pieces.end[k];
            }
        if (piece != nullptr)
            copy(width, whole + outer * pieces.row + pieces.first + at,
                 piece + outer * (end - start) + at - start);
    });
}

template <typename Width>
__device__ __forceinline__ void copy_elements(Width, const float *from, float *to) {
    store(to, load<Width::value>(from));
}

// `count` is that of all pieces of this launch, wanted or not.
extern "C" __global__ void cut(const float *whole, EIGHT(float *, piece), EIGHT(int, end), int row,
                               int first, int count) {
    const Pieces<float *> pieces = {{LIST(piece)}, {LIST(end)}, row, first};
    for_pieces(whole, pieces, count, [](auto width, const float *from, float *to) {
        copy_elements(width, from, to);
    });
}

extern "C" __global__ void join(float *whole, EIGHT(const float *, piece), EIGHT(int, end), int row,
                                int first, int count) {
    const Pieces<const float *> pieces = {{LIST(piece)}, {LIST(end)}, row, first};
    for_pieces(whole, pieces, count, [](auto width, float *to, const float *from) {
        copy_elements(width, from, to);
    });
}

template <int WIDTH>
__device__ __forceinline__ void add(Vector<float, WIDTH> &sum, const float *from) {
    const Vector<float, WIDTH> values = load<WIDTH>(from);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) sum.at[k] += values.at[k];
}

// sum = term0 + term1 + ..., in this order; the sum may be term0.
extern "C" __global__ void add_up(float *sum, EIGHT(const float *, term), int count) {
    for_vectors(count, aligned(sum, LIST(term)), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const float *const terms[MOST] = {LIST(term)};
        Vector<float, WIDTH> total = load<WIDTH>(term0 + i);
#pragma unroll
        for (int k = 1; k < MOST; ++k)
            if (terms[k] != nullptr) add(total, terms[k] + i);
        store(sum + i, total);
    });
}

// A part of (..., size1, size2, size3) elements in a whole with the strides stride0, stride1, stride2
// and 1, beginning at its element `start`.
#define WINDOW                                                                          \
    int size1, int size2, int size3, int stride0, int stride1, int stride2, int start, \
        int count

template <typename Whole, typename Part, typename Copy>
__device__ __forceinline__ void for_window(Whole whole, Part part, WINDOW, Copy copy) {
    const bool fours = aligned(whole, part) && size3 % 4 == 0 && stride0 % 4 == 0 &&
                       stride1 % 4 == 0 && stride2 % 4 == 0 && start % 4 == 0;
    for_vectors(count, fours, [=](auto width, int i) {
        const int at3 = i % size3, rows = i / size3;
        const int at2 = rows % size2, planes = rows / size2;
        const int64 place = start + int64(planes / size1) * stride0 +
                            int64(planes % size1) * stride1 + int64(at2) * stride2 + at3;
        copy(width, whole + place, part + i);
    });
}

extern "C" __global__ void cut_window(const float *whole, float *part, WINDOW) {
    for_window(whole, part, size1, size2, size3, stride0, stride1, stride2, start, count,
               [](auto width, const float *from, float *to) { copy_elements(width, from, to); });
}

extern "C" __global__ void put_window(float *whole, const float *part, WINDOW) {
    for_window(whole, part, size1, size2, size3, stride0, stride1, stride2, start, count,
               [](auto width, float *to, const float *from) { copy_elements(width, from, to); });
}

// Each stretch of `inner` elements, `tiles` times in a row; `count` is the top's.
extern "C" __global__ void tile_forward(const float *bottom, float *top, int tiles, int inner,
                                        int count) {
    for_vectors(count, inner % 4 == 0 && aligned(bottom, top), [=](auto width, int i) {
        const int stretch = i / inner;
        copy_elements(width, bottom + int64(stretch / tiles) * inner + i % inner, top + i);
    });
}

// The sum over the tiles; `count` is the bottom's.
extern "C" __global__ void tile_backward(const float *top_diff, float *bottom_diff, int tiles,
                                         int inner, int count) {
    for_vectors(count, inner % 4 == 0 && aligned(top_diff, bottom_diff), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const float *first = top_diff + int64(i / inner) * tiles * inner + i % inner;
        Vector<float, WIDTH> sum = load<WIDTH>(first);
        for (int tile = 1; tile < tiles; ++tile) add(sum, first + int64(tile) * inner);
        store(bottom_diff + i, sum);
    });
}
