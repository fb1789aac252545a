// Arithmetic, conversions, atomics, loads and stores.
//
// The fast, inexact functions (__expf and others) are exact here: their error on a GPU does not
// show.
#pragma once

// CUDA's max and min take mixed types, and prefer a number to a NaN.
template <typename A, typename B>
inline std::common_type_t<A, B> max(A a, B b) {
    typedef std::common_type_t<A, B> T;
    if (std::is_floating_point<T>::value) return static_cast<T>(fmax(T(a), T(b)));
    return T(a) < T(b) ? T(b) : T(a);
}
template <typename A, typename B>
inline std::common_type_t<A, B> min(A a, B b) {
    typedef std::common_type_t<A, B> T;
    if (std::is_floating_point<T>::value) return static_cast<T>(fmin(T(a), T(b)));
    return T(b) < T(a) ? T(b) : T(a);
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float fdividef(float x, float y) { return x / y; }
inline float normcdff(float x) { return 0.5f * erfcf(-0.70710678f * x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / sqrt(double(x))); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __mulhi(int x, int y) { return static_cast<int>((long long)x * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned long long)x * y >> 32; }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return static_cast<unsigned long long>((unsigned __int128)x * y >> 64);
}

namespace emulation {
template <typename To, typename From>
inline To bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "the sizes differ");
    To result;
    __builtin_memcpy(&result, &value, sizeof result);
    return result;
}
// CUDA's conversions saturate, and make 0 of a NaN.
template <typename To>
inline To saturated(double value) {
    const To least = To(1) << (8 * sizeof(To) - 1);
    const bool is_signed = std::is_signed<To>::value;
    const To lowest = is_signed ? least : To(0);
    const To highest = static_cast<To>(is_signed ? ~least : ~To(0));
    if (!(value == value)) return 0;
    if (value <= static_cast<double>(lowest)) return lowest;
    return value >= static_cast<double>(highest) ? highest : static_cast<To>(value);
}
}  // namespace emulation

inline int __float_as_int(float x) { return emulation::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulation::bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulation::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulation::bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulation::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulation::bits<double>(x); }
inline int __float2int_rn(float x) { return emulation::saturated<int>(rintf(x)); }
inline int __float2int_rd(float x) { return emulation::saturated<int>(floorf(x)); }
inline int __float2int_ru(float x) { return emulation::saturated<int>(ceilf(x)); }
inline int __float2int_rz(float x) { return emulation::saturated<int>(truncf(x)); }
inline unsigned __float2uint_rn(float x) { return emulation::saturated<unsigned>(rintf(x)); }
inline unsigned __float2uint_rd(float x) { return emulation::saturated<unsigned>(floorf(x)); }
inline unsigned __float2uint_rz(float x) { return emulation::saturated<unsigned>(truncf(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

template <typename T> inline T __ldg(const T *p) { return *p; }
template <typename T> inline T __ldca(const T *p) { return *p; }
template <typename T> inline T __ldcg(const T *p) { return *p; }
template <typename T> inline T __ldcs(const T *p) { return *p; }
template <typename T> inline T __ldcv(const T *p) { return *p; }
template <typename T> inline void __stcg(T *p, std::common_type_t<T> value) { *p = value; }
template <typename T> inline void __stcs(T *p, std::common_type_t<T> value) { *p = value; }
template <typename T> inline void __stwb(T *p, std::common_type_t<T> value) { *p = value; }
template <typename T> inline void __stwt(T *p, std::common_type_t<T> value) { *p = value; }

// Sums of floats by atomics depend on the order of the threads: the project has none.
#define INTEGER(T) static_assert(std::is_integral<T>::value, "only integers have atomics here")

template <typename T> inline T atomicAdd(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
template <typename T> inline T atomicSub(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    return __atomic_fetch_sub(p, value, __ATOMIC_RELAXED);
}
template <typename T> inline T atomicAnd(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    return __atomic_fetch_and(p, value, __ATOMIC_RELAXED);
}
template <typename T> inline T atomicOr(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    return __atomic_fetch_or(p, value, __ATOMIC_RELAXED);
}
template <typename T> inline T atomicXor(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    return __atomic_fetch_xor(p, value, __ATOMIC_RELAXED);
}
template <typename T> inline T atomicExch(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    return __atomic_exchange_n(p, value, __ATOMIC_RELAXED);
}
template <typename T>
inline T atomicCAS(T *p, std::common_type_t<T> expected, std::common_type_t<T> value) {
    INTEGER(T);
    T found = expected;
    __atomic_compare_exchange_n(p, &found, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return found;
}
// Threads are switched at barriers only: nothing comes between the load and the store.
template <typename T> inline T atomicMax(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    __atomic_store_n(p, old < value ? value : old, __ATOMIC_RELAXED);
    return old;
}
template <typename T> inline T atomicMin(T *p, std::common_type_t<T> value) {
    INTEGER(T);
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    __atomic_store_n(p, value < old ? value : old, __ATOMIC_RELAXED);
    return old;
}
inline unsigned atomicInc(unsigned *p, unsigned last) {
    unsigned old = __atomic_load_n(p, __ATOMIC_RELAXED);
    __atomic_store_n(p, old >= last ? 0 : old + 1, __ATOMIC_RELAXED);
    return old;
}
inline unsigned atomicDec(unsigned *p, unsigned last) {
    unsigned old = __atomic_load_n(p, __ATOMIC_RELAXED);
    __atomic_store_n(p, old == 0 || old > last ? last : old - 1, __ATOMIC_RELAXED);
    return old;
}
#undef INTEGER

#undef assert
#define assert(condition)                                                                        \
    do {                                                                                         \
        if (!(condition))                                                                        \
            emulation::fail("assert(%s) in %s:%d", #condition, emulation::file_name(__FILE__), \
                            __LINE__);                                                           \
    } while (0)
