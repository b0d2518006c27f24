/* Great-circle distances of n pairs, in km: the formula of agent/analysis/kernels/haversine.pyx, OpenMP over all of them. */
#include <math.h>
#include <stdint.h>

void distances(const double *a, const double *b, const double *c, const double *d, double *out, int64_t n, int threads)
{
    const double half = 0.0087266462599716478846;
#pragma omp parallel for simd schedule(static) num_threads(threads)
    for (int64_t i = 0; i < n; i++) {
        double north = sin((c[i] - a[i]) * half), east = sin((d[i] - b[i]) * half);
        double h = north * north + cos(a[i] * (2 * half)) * cos(c[i] * (2 * half)) * east * east;
        out[i] = 2 * 6371.0088 * asin(sqrt(h > 1 ? 1 : h));
    }
}
