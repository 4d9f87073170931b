// ARMA(p, q) by exact maximum likelihood, a job a thread: what kernels/arma*.py does in lanes.
//
// The formulas, their order and their names are those of kernels/arma_likelihood.py, arma_climb.py
// and arma_start.py, which explain them. Every constant is a macro, written in front of this text
// from the Python constants, so that the two sides cannot drift apart in a number. Sums of products
// are fused where the Python kernels fuse them, by fma, and nowhere else: both round alike.
//
// What the processor keeps of a session in memory is computed again: an evaluation reads its window
// twice and writes nothing. A window is a column of values (n, W), so that neighbouring threads read
// neighbouring addresses. The same text is C++ for a host, where a kernel is a loop over what would
// be its threads.

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#define PASS __device__ __noinline__  // its registers are its own; a search keeps few across it
#define KERNEL extern "C" __global__ void
#define EACH(i, count)                                                                     \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (count);      \
         i += (long long)gridDim.x * blockDim.x)
#define UNROLL _Pragma("unroll")
#define NOWHERE __longlong_as_double(0x7ff0000000000000LL)
#else
#include <math.h>
#define DEVICE inline
#define PASS static
#define KERNEL extern "C" void
#define EACH(i, count) for (long long i = 0; i < (count); ++i)
#define UNROLL
#define NOWHERE HUGE_VAL
#endif

enum { K = 2 * N_LAGS };  // phi 1 to 3, theta 1 to 3
static_assert(N_LAGS == 3, "three lags are written out");

// One window less its mean, and what is estimated of it.
struct Job {
    const double *column;
    long long stride, n;
    double mean, free[K];
    bool constant;

    DEVICE double value(long long t) const { return column[t * stride] - mean; }
};

DEVICE Job job_at(long long i, long long n_windows, const double *values, const long long *which,
                  const long long *lengths, const long long *orders, const double *means) {
    Job job;
    job.column = values + which[i];
    job.stride = n_windows;
    job.n = lengths[i];
    job.mean = means[i];
    for (int lag = 0; lag < N_LAGS; ++lag) {
        job.free[lag] = lag < orders[3 * i] ? 1.0 : 0.0;
        job.free[N_LAGS + lag] = lag < orders[3 * i + 1] ? 1.0 : 0.0;
    }
    job.constant = orders[3 * i + 2] != 0;
    return job;
}

// Writes partial autocorrelations 1 to 3 of the autoregression (a, b, c).
DEVICE void reflections(double a, double b, double c, double *k) {
    const double left = 1.0 / (1.0 - c * c);
    k[1] = (b + c * a) * left;
    k[0] = (a + c * b) * left / (1.0 - k[1]);
    k[2] = c;
}

// Returns the least of 1 - abs(k) over the partial autocorrelations k of both polynomials.
DEVICE double margin(const double *x) {
    double k[K];
    reflections(x[0], x[1], x[2], k);
    reflections(-x[3], -x[4], -x[5], k + 3);
    double most = fabs(k[0]);
    for (int i = 1; i < K; ++i) most = fabs(k[i]) <= most ? most : fabs(k[i]);
    const bool ordered = fabs(k[2]) < 1.0 && fabs(k[1]) < 1.0 && fabs(k[5]) < 1.0;
    return ordered && fabs(k[4]) < 1.0 ? 1.0 - most : -1.0;
}

// e of the model from zeros.
struct Recursion {
    double f1, f2, f3, t1, t2, t3, y1, y2, y3, e1, e2, e3;

    DEVICE explicit Recursion(const double *x)
        : f1(-x[0]), f2(-x[1]), f3(-x[2]), t1(-x[3]), t2(-x[4]), t3(-x[5]), y1(0.0), y2(0.0),
          y3(0.0), e1(0.0), e2(0.0), e3(0.0) {}
    DEVICE double next(double y0) {
        const double known = fma(t2, e2, fma(t3, e3, fma(f1, y1, fma(f2, y2, fma(f3, y3, y0)))));
        const double e0 = fma(t1, e1, known);
        y3 = y2, y2 = y1, y1 = y0;
        e3 = e2, e2 = e1, e1 = e0;
        return e0;
    }
};

// The impulse response of 1 / theta(B); one that has died out is left out from there on.
struct Response {
    double t1, t2, t3, h0, h1, h2;
    bool alive;

    DEVICE explicit Response(const double *x)
        : t1(-x[3]), t2(-x[4]), t3(-x[5]), h0(1.0), h1(0.0), h2(0.0), alive(true) {}
    DEVICE bool lives(long long t) {
        if (alive && t % BLOCK == 0) alive = fabs(h0) > DEAD || fabs(h1) > DEAD || fabs(h2) > DEAD;
        return alive;
    }
    DEVICE void go_on() {
        const double h = fma(t1, h0, fma(t2, h1, t3 * h2));
        h2 = h1, h1 = h0, h0 = h;
    }
};

DEVICE void set_symmetric(double *out, double a00, double a01, double a02, double a11, double a12,
                          double a22) {
    out[0] = a00, out[1] = out[3] = a01, out[2] = out[6] = a02;
    out[4] = a11, out[5] = out[7] = a12, out[8] = a22;
}

// Writes the product of a matrix of three and one of three rows of n.
DEVICE void multiply(const double *left, const double *right, double *out, int n) {
    UNROLL for (int i = 0; i < 3; ++i) {
        UNROLL for (int j = 0; j < n; ++j) {
            const double total = fma(left[3 * i + 1], right[n + j], left[3 * i] * right[j]);
            out[n * i + j] = fma(left[3 * i + 2], right[2 * n + j], total);
        }
    }
}

// Returns the sum of products of three rows, `stride` apart.
DEVICE double dot(const double *left, const double *right, int stride) {
    const double total = left[0] * right[0] + left[stride] * right[stride];
    return total + left[2 * stride] * right[2 * stride];
}

// -2 log L less constants at one point, and what its derivatives need.
struct Likelihood {
    double value, sum, mean, shift;
    double m[9], gm[9], w[9], c[3], v[3], lambda[3], start[3];

    // Writes W, the inverse of C^-1 + M G M, from that of M G M; returns log det.
    DEVICE double invert(const double *x, const double *mgm) {
        const double f1 = x[0], f2 = x[1], f3 = x[2];
        const double corner = 1.0 - f3 * f3, beside = f1 + f2 * f3;
        const double a00 = mgm[0] + corner, a01 = mgm[1] - beside;
        const double a02 = mgm[2] - f2 - f1 * f3, a12 = mgm[5] - beside;
        const double a11 = mgm[4] + (corner + f1 * f1 - f2 * f2);
        const double i1 = 1.0 / a00, l10 = a01 * i1, l20 = a02 * i1;
        const double p2 = a11 - l10 * a01, i2 = 1.0 / p2, l21 = (a12 - l10 * a02) * i2;
        const double p3 = mgm[8] + corner - l20 * a02 - l21 * l21 * p2, i3 = 1.0 / p3;
        const double k20 = l21 * l10 - l20;
        set_symmetric(w, i1 + l10 * l10 * i2 + k20 * k20 * i3, -l10 * i2 - k20 * l21 * i3, k20 * i3,
                      i2 + l21 * l21 * i3, -l21 * i3, i3);
        double k[3];
        reflections(f1, f2, f3, k);
        const double d1 = 1.0 - k[0] * k[0], d2 = 1.0 - k[1] * k[1], d3 = 1.0 - k[2] * k[2];
        const double c0 = 1.0 / (d1 * d2 * d3);
        c[0] = c0, c[1] = k[0] * c0, c[2] = (k[0] * k[0] + k[1] * d1) * c0;
        return log(a00 * p2 * p3 / (d1 * d2 * d2 * d3 * d3 * d3));  // det C^-1 below the line
    }
};

// The first reading of a window.
PASS void evaluate(const Job &job, const double *x, Likelihood &at) {
    Recursion recursion(x);
    Response h(x);
    double squares = 0.0, total = 0.0;
    double g00 = 0.0, g01 = 0.0, g02 = 0.0, g11 = 0.0, g12 = 0.0, g22 = 0.0;
    double b0 = 0.0, b1 = 0.0, b2 = 0.0, totals[3] = {0.0, 0.0, 0.0};
    for (long long t = 0; t < job.n; ++t) {
        const double e0 = recursion.next(job.value(t));
        squares = fma(e0, e0, squares);
        total += e0;
        if (!h.lives(t)) continue;
        g00 = fma(h.h0, h.h0, g00), g01 = fma(h.h0, h.h1, g01), g02 = fma(h.h0, h.h2, g02);
        g11 = fma(h.h1, h.h1, g11), g12 = fma(h.h1, h.h2, g12), g22 = fma(h.h2, h.h2, g22);
        b0 = fma(h.h0, e0, b0), b1 = fma(h.h1, e0, b1), b2 = fma(h.h2, e0, b2);
        totals[0] += h.h0, totals[1] += h.h1, totals[2] += h.h2;
        h.go_on();
    }
    double g[9], product[9];
    set_symmetric(g, g00, g01, g02, g11, g12, g22);
    const double f1 = x[0], f2 = x[1], f3 = x[2], t1 = x[3], t2 = x[4], t3 = x[5];
    const double d21 = f2 * t1 - t2 * f1, d31 = f3 * t1 - t3 * f1, d32 = f3 * t2 - t3 * f2;
    set_symmetric(at.m, f1 + t1, f2 + t2, f3 + t3, f3 + t3 + d21, d31, d32);
    multiply(g, at.m, at.gm, 3);
    multiply(at.m, at.gm, product, 3);
    const double log_det = at.invert(x, product);

    // The regressor of the mean is level * 1 + X a; sides are X'e0 and X'(regressor), by turns.
    const double count = (double)job.n, level = (1.0 - f1 - f2 - f3) / (1.0 + t1 + t2 + t3);
    const double regressor[3] = {1.0 - level, 1.0 - f1 - (1.0 + t1) * level,
                                 1.0 - f1 - f2 - (1.0 + t1 + t2) * level};
    double sides[6] = {b0, 0.0, b1, 0.0, b2, 0.0}, m_sides[6], w_sides[6];
    multiply(g, regressor, product, 1);
    double along = level * (level * count + 2.0 * dot(regressor, totals, 1));
    along += dot(regressor, product, 1);
    double moment = level * total;
    for (int i = 0; i < 3; ++i) {
        moment += regressor[i] * sides[2 * i];
        sides[2 * i + 1] = product[i] + level * totals[i];
    }
    multiply(at.m, sides, m_sides, 2);
    multiply(at.w, m_sides, w_sides, 2);
    moment -= dot(m_sides, w_sides + 1, 2);
    along -= dot(m_sides + 1, w_sides + 1, 2);
    const double mu = job.constant ? moment / along : 0.0;
    const double least = squares - dot(m_sides, w_sides, 2) - mu * moment;
    for (int i = 0; i < 3; ++i) at.v[i] = w_sides[2 * i] - mu * w_sides[2 * i + 1];
    multiply(at.m, at.v, at.start, 1);
    multiply(g, at.start, product, 1);
    for (int i = 0; i < 3; ++i) {
        at.lambda[i] = sides[2 * i] - mu * sides[2 * i + 1] - product[i];
        at.start[i] += mu * regressor[i];
    }
    at.value = count * log(least) + log_det;
    at.sum = least;
    at.mean = mu;
    at.shift = mu * level;
}

// The residuals that follow from an evaluation.
struct Residuals {
    Recursion recursion;
    Response h;
    double s0, s1, s2, shift;

    DEVICE Residuals(const double *x, const Likelihood &at)
        : recursion(x), h(x), s0(-at.start[0]), s1(-at.start[1]), s2(-at.start[2]),
          shift(at.shift) {}
    // Returns the one of session t, and leaves the response where it is.
    DEVICE double at(long long t, double y0) {
        const double e0 = recursion.next(y0);
        const double whole = h.lives(t) ? fma(h.h0, s0, fma(h.h1, s1, fma(h.h2, s2, e0))) : e0;
        return whole - shift;
    }
    DEVICE double next(long long t, double y0) {
        const double e0 = at(t, y0);
        if (h.alive) h.go_on();
        return e0;
    }
};

// What the derivatives at one point come to; of the matrices the lower part.
struct Derivatives {
    double slope[K], newton[K][K], gauss[K][K];

    // Sets one entry of both matrices, without the coefficients that stay at zero.
    DEVICE void set_pair(const double *free, int i, int j, double product, double bend) {
        const double both = free[i] * free[j];
        const double fixed = (1.0 - both) * (i == j ? 1.0 : 0.0);
        gauss[i][j] = product * both + fixed;
        newton[i][j] = (product + bend) * both + fixed;
    }
};

// How -2 log L moves with M, entry and mirrored entry, and with C^-1.
DEVICE void through(const Likelihood &at, double weight, double *by_m, double *by_c) {
    double product[9];
    multiply(at.gm, at.w, product, 3);
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
            const double fixed = at.lambda[i] * at.v[j] + at.lambda[j] * at.v[i];
            by_m[3 * i + j] = product[3 * i + j] + product[3 * j + i] - weight * fixed;
            by_c[3 * i + j] = weight * at.v[i] * at.v[j];
            by_c[3 * i + j] += at.w[3 * i + j] - at.c[i > j ? i - j : j - i];
        }
    }
}

// The second reading of a window.
PASS void differentiate(const Job &job, const double *x, const Likelihood &at, Derivatives &by) {
    Residuals residuals(x, at);
    double mw[9], n[9];
    multiply(at.m, at.w, mw, 3);
    multiply(mw, at.m, n, 3);
    const double t1 = -x[3], t2 = -x[4], t3 = -x[5], mu = at.mean;
    const double n00 = n[0], n01 = n[1], n02 = n[2], n11 = n[4], n12 = n[5], n22 = n[8];
    double g1 = 0.0, g2 = 0.0, g3 = 0.0, g4 = 0.0, g5 = 0.0;
    double slope1 = 0.0, slope2 = 0.0, slope3 = 0.0;
    double u1 = 0.0, u2 = 0.0, u3 = 0.0, w1 = 0.0, w2 = 0.0, w3 = 0.0;
    double uu0 = 0.0, uu1 = 0.0, uu2 = 0.0, ww0 = 0.0, ww1 = 0.0, ww2 = 0.0;
    double lead2 = 0.0, lead1 = 0.0, same = 0.0, lag1 = 0.0, lag2 = 0.0;  // of u and w
    double eu1 = 0.0, eu2 = 0.0, eu3 = 0.0, ew1 = 0.0, ew2 = 0.0, ew3 = 0.0;
    double a1 = 0.0, a2 = 0.0, a3 = 0.0, a4 = 0.0, a5 = 0.0, a6 = 0.0;
    double b1 = 0.0, b2 = 0.0, b3 = 0.0, b4 = 0.0, b5 = 0.0, b6 = 0.0;
    double ea[5] = {0.0, 0.0, 0.0, 0.0, 0.0}, eb[5] = {0.0, 0.0, 0.0, 0.0, 0.0};  // lags 2 to 6
    for (long long t = 0; t < job.n; ++t) {
        const double y0 = job.value(t), e0 = residuals.at(t, y0);
        Response &h = residuals.h;
        if (h.alive) {
            const double x0 = fma(n00, h.h0, fma(n01, h.h1, n02 * h.h2));
            const double x1 = fma(n01, h.h0, fma(n11, h.h1, n12 * h.h2));
            const double x2 = fma(n02, h.h0, fma(n12, h.h1, n22 * h.h2));
            slope1 = fma(x0, g1, fma(x1, g2, fma(x2, g3, slope1)));
            slope2 = fma(x0, g2, fma(x1, g3, fma(x2, g4, slope2)));
            slope3 = fma(x0, g3, fma(x1, g4, fma(x2, g5, slope3)));
            const double g0 = fma(t1, g1, fma(t2, g2, fma(t3, g3, h.h0)));
            g5 = g4, g4 = g3, g3 = g2, g2 = g1, g1 = g0;
            h.go_on();
        }
        eu1 = fma(e0, u1, eu1), eu2 = fma(e0, u2, eu2), eu3 = fma(e0, u3, eu3);
        ew1 = fma(e0, w1, ew1), ew2 = fma(e0, w2, ew2), ew3 = fma(e0, w3, ew3);
        const double u0 = fma(t1, u1, fma(t2, u2, fma(t3, u3, y0 - mu)));
        const double w0 = fma(t1, w1, fma(t2, w2, fma(t3, w3, e0)));
        uu0 = fma(u0, u0, uu0), uu1 = fma(u0, u1, uu1), uu2 = fma(u0, u2, uu2);
        ww0 = fma(w0, w0, ww0), ww1 = fma(w0, w1, ww1), ww2 = fma(w0, w2, ww2);
        same = fma(u0, w0, same), lag1 = fma(u0, w1, lag1), lag2 = fma(u0, w2, lag2);
        lead1 = fma(w0, u1, lead1), lead2 = fma(w0, u2, lead2);
        u3 = u2, u2 = u1, u1 = u0;
        w3 = w2, w2 = w1, w1 = w0;
        ea[0] = fma(e0, a2, ea[0]), ea[1] = fma(e0, a3, ea[1]), ea[2] = fma(e0, a4, ea[2]);
        ea[3] = fma(e0, a5, ea[3]), ea[4] = fma(e0, a6, ea[4]);
        eb[0] = fma(e0, b2, eb[0]), eb[1] = fma(e0, b3, eb[1]), eb[2] = fma(e0, b4, eb[2]);
        eb[3] = fma(e0, b5, eb[3]), eb[4] = fma(e0, b6, eb[4]);
        const double a0 = fma(t1, a1, fma(t2, a2, fma(t3, a3, u0)));
        const double b0 = fma(t1, b1, fma(t2, b2, fma(t3, b3, w0)));
        a6 = a5, a5 = a4, a4 = a3, a3 = a2, a2 = a1, a1 = a0;
        b6 = b5, b5 = b4, b4 = b3, b3 = b2, b2 = b1, b1 = b0;
    }
    // By j - i from -2 to 2: u(t-i) w(t-j) sums to u(t) w(t-(j-i)).
    const double cross[5] = {lead2, lead1, same, lag1, lag2};
    const double uu[3] = {uu0, uu1, uu2}, ww[3] = {ww0, ww1, ww2};
    const double weight = (double)job.n / at.sum, twice = 2.0 * weight;

    double by_m[9], by_c[9];
    through(at, weight, by_m, by_c);
    const double f1 = x[0], f2 = x[1], f3 = x[2], p1 = x[3], p2 = x[4], p3 = x[5];
    const double k1 = by_m[0], k2 = 2.0 * by_m[1];
    const double d21 = by_m[4], d31 = 2.0 * by_m[5], d32 = by_m[8];
    const double k3 = 2.0 * by_m[2] + d21;
    const double q0 = by_c[0] + by_c[8], q3 = by_c[4];
    const double q1 = 2.0 * (by_c[1] + by_c[5]), q2 = 2.0 * by_c[2];
    by.slope[0] = twice * -eu1 + (k1 - p2 * d21 - p3 * d31 - q1 - f3 * q2 + 2.0 * f1 * q3);
    by.slope[1] = twice * -eu2 + (k2 + p1 * d21 - p3 * d32 - f3 * q1 - q2 - 2.0 * f2 * q3);
    by.slope[2] = twice * -eu3
        + (k3 + p1 * d31 + p2 * d32 - 2.0 * f3 * (q0 + q3) - f2 * q1 - f1 * q2);
    by.slope[3] = twice * -ew1 + k1 + f2 * d21 + f3 * d31 + -2.0 * slope1;
    by.slope[4] = twice * -ew2 + k2 - f1 * d21 + f3 * d32 + -2.0 * slope2;
    by.slope[5] = twice * -ew3 + k3 - f1 * d31 - f2 * d32 + -2.0 * slope3;
    UNROLL for (int i = 0; i < K; ++i) by.slope[i] *= job.free[i];
    UNROLL for (int i = 0; i < 3; ++i) {
        UNROLL for (int j = 0; j <= i; ++j) {
            by.set_pair(job.free, i, j, twice * uu[i - j], 0.0);
            by.set_pair(job.free, 3 + i, 3 + j, twice * ww[i - j], 2.0 * twice * eb[i + j]);
        }
        UNROLL for (int j = 0; j < 3; ++j) {
            by.set_pair(job.free, 3 + j, i, twice * cross[2 + j - i], twice * ea[i + j]);
        }
    }
}

// A search: where it stands, the derivatives there, and how it goes on.
struct Climb {
    double x[K], step[K], value, least, mean, damping, left;
    long long taken;
    Derivatives by;

    // Writes the damped step; returns the least pivot of the matrix over Gauss and Newton's.
    DEVICE double solve(const double matrix[K][K]) {
        double factor[K][K], pivots = 1.0;
        for (int i = 0; i < K; ++i) {
            const double own = by.gauss[i][i];
            for (int j = 0; j <= i; ++j) {
                double entry = matrix[i][j];
                if (i == j) entry += damping * own;
                for (int k = 0; k < j; ++k) entry -= factor[i][k] * factor[k][k] * factor[j][k];
                if (i == j) {
                    const double ratio = entry / own;
                    pivots = ratio < pivots ? ratio : pivots;
                    factor[i][i] = entry;
                } else {
                    factor[i][j] = entry / factor[j][j];
                }
            }
        }
        for (int i = 0; i < K; ++i) {
            double entry = -by.slope[i];
            for (int k = 0; k < i; ++k) entry -= factor[i][k] * step[k];
            step[i] = entry;
        }
        for (int i = 0; i < K; ++i) step[i] /= factor[i][i];
        for (int i = K - 2; i >= 0; --i) {
            double entry = step[i];
            for (int k = i + 1; k < K; ++k) entry -= factor[k][i] * step[k];
            step[i] = entry;
        }
        return pivots;
    }

    // Writes the next step, Newton's or that of Gauss and Newton; returns what it gains, twice.
    DEVICE double choose_step() {
        if (!(solve(by.newton) > CONVEX)) solve(by.gauss);
        double gain = 0.0;
        for (int i = 0; i < K; ++i) gain -= step[i] * by.slope[i];
        return gain;
    }

    DEVICE void move(double length, double *trial) const {
        for (int i = 0; i < K; ++i) trial[i] = fma(length, step[i], x[i]);
    }

    // Writes the trial, a length of the step away; returns the length, at most 1.
    DEVICE double shorten(double *trial) const {
        double low = 0.0, high = 1.0, length = 1.0;
        for (int i = 0; i < HALVINGS; ++i) {
            move(length, trial);
            if (margin(trial) > EDGE) low = length;
            else high = length;
            if (!(low < 1.0)) break;
            length = 0.5 * (low + high);
        }
        length = low < 1.0 ? BEFORE_EDGE * low : 1.0;
        move(length, trial);
        return length;
    }

    // Puts all second derivatives in the place of those of the residuals, by differences.
    DEVICE void bend(const Job &job) {
        double bent[K][K];
        for (int i = 0; i < K; ++i) {
            for (int j = 0; j < K; ++j) bent[i][j] = i == j ? 1.0 : 0.0;
            if (!(job.free[i] > 0.5)) continue;
            double trial[K];
            for (int j = 0; j < K; ++j) trial[j] = x[j];
            const double away = (x[i] > 0.0 ? -PROBE : PROBE) * margin(x);
            trial[i] = fma(away, job.free[i], x[i]);
            Likelihood at;
            Derivatives there;
            evaluate(job, trial, at);
            differentiate(job, trial, at, there);
            for (int j = 0; j < K; ++j) {
                if (job.free[j] > 0.5) bent[i][j] = (there.slope[j] - by.slope[j]) / away;
            }
        }
        for (int i = 0; i < K; ++i) {
            for (int j = 0; j <= i; ++j) by.newton[i][j] = 0.5 * (bent[i][j] + bent[j][i]);
            if (by.newton[i][i] > by.gauss[i][i]) by.gauss[i][i] = by.newton[i][i];
        }
    }

    // Tries up to `most` steps from a start.
    DEVICE void run(const Job &job, const double *start, long long most, bool exact) {
        double trial[K];
        for (int i = 0; i < K; ++i) x[i] = trial[i] = start[i];
        value = left = NOWHERE;
        least = mean = 0.0;
        damping = FIRST_DAMPING;
        taken = 0;
        for (long long tried = 0; tried <= most; ++tried) {
            Likelihood at;
            evaluate(job, trial, at);
            const bool better = tried == 0 || at.value < value;
            if (tried > 0) {
                ++taken;
                if (better) damping *= 0.1;
                else damping = damping < 0.1 * RAISED_DAMPING ? RAISED_DAMPING : damping * 10.0;
                if (damping < LEAST_DAMPING) damping = LEAST_DAMPING;
            }
            if (better) {
                for (int i = 0; i < K; ++i) x[i] = trial[i];
                value = at.value;
                least = at.sum;
                mean = at.mean;
                differentiate(job, x, at, by);
                if (exact) bend(job);
            }
            const double gain = choose_step();
            left = gain * shorten(trial);
            if (!(left >= TOLERANCE)) break;
        }
    }
};

// Writes windows that come as rows (W, n) as columns (n, W).
KERNEL columns(long long n_windows, long long n, const double *rows, double *values) {
    EACH(i, n * n_windows) values[i] = rows[i % n_windows * n + i / n_windows];
}

// The other kernels take of each job its window, how many values that has, p, q and whether a mean is
// estimated (J, 3), and what is taken off the window.

// Writes sums of products at lag 0 to 15, (J, 16).
KERNEL autocovariances(long long n_jobs, long long n_windows, const double *values,
                       const long long *which, const long long *lengths, const long long *orders,
                       const double *means, double *out) {
    EACH(i, n_jobs) {
        const Job job = job_at(i, n_windows, values, which, lengths, orders, means);
        const double x[K] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
        Likelihood at;
        evaluate(job, x, at);
        Residuals residuals(x, at);  // without coefficients, the values less their mean
        double behind[N_AUTO], sums[N_AUTO];
        UNROLL for (int lag = 0; lag < N_AUTO; ++lag) behind[lag] = sums[lag] = 0.0;
        for (long long t = 0; t < job.n; ++t) {
            UNROLL for (int lag = N_AUTO - 1; lag > 0; --lag) behind[lag] = behind[lag - 1];
            behind[0] = residuals.next(t, job.value(t));
            UNROLL for (int lag = 0; lag < N_AUTO; ++lag) {
                sums[lag] = fma(behind[lag], behind[0], sums[lag]);
            }
        }
        UNROLL for (int lag = 0; lag < N_AUTO; ++lag) out[i * N_AUTO + lag] = sums[lag];
    }
}

// One pair of factors on its way through the residuals of a smaller model.
struct Pair {
    double b1, b2, v1, v2, x1, x2, product, square;

    DEVICE void begin(const double *factor) {
        b1 = factor[0], b2 = factor[1];
        v1 = v2 = x1 = x2 = product = 0.0;
        square = 1e-300;
    }
    DEVICE void sum_up() {
        square = fma(v1, v1, square), product = fma(v1, v2, product);
    }
    DEVICE void step(double e0) {
        x1 = fma(e0, v1, x1), x2 = fma(e0, v2, x2);
        sum_up();
        const double v0 = fma(b1, v1, fma(b2, v2, e0));
        v2 = v1, v1 = v0;
    }
    // Writes what its place promises if that is more than `most`.
    DEVICE void place(long long n_roots, double *most, double *out) const {
        double d1 = x1 / square, d2 = 0.0;
        if (n_roots == 2) {
            const double left = 1.0 / (square * square - product * product);
            d1 = (square * x1 - product * x2) * left;
            d2 = (square * x2 - product * x1) * left;
        }
        const double gain = d1 * x1 + d2 * x2;
        if (!(gain > *most)) return;
        *most = gain;
        out[0] = b1 + d1, out[1] = b2 + d2, out[2] = b1, out[3] = b2;
    }
};

// Writes a1, a2, b1 and b2, (J, 4), of the nearly cancelling factors (C, 2) that promise the most
// added to the job with coefficients (J, 6); AT_ONCE of them go through one reading of a window.
KERNEL scan(long long n_jobs, long long n_windows, const double *values, const long long *which,
            const long long *lengths, const long long *orders, const double *means,
            const double *base, long long n_factors, const double *factors, long long n_roots,
            double *out) {
    EACH(i, n_jobs) {
        const Job job = job_at(i, n_windows, values, which, lengths, orders, means);
        double x[K], most = -1.0;
        for (int k = 0; k < K; ++k) x[k] = base[i * K + k];
        for (int k = 0; k < 4; ++k) out[i * 4 + k] = 0.0;
        Likelihood at;
        evaluate(job, x, at);
        for (long long first = 0; first < n_factors; first += AT_ONCE) {
            Pair pairs[AT_ONCE];
            UNROLL for (int p = 0; p < AT_ONCE; ++p) {
                pairs[p].begin(factors + 2 * (first + p < n_factors ? first + p : n_factors - 1));
            }
            Residuals residuals(x, at);
            for (long long t = 0; t < job.n; ++t) {
                const double e0 = residuals.next(t, job.value(t));
                UNROLL for (int p = 0; p < AT_ONCE; ++p) pairs[p].step(e0);
            }
            UNROLL for (int p = 0; p < AT_ONCE; ++p) {
                pairs[p].sum_up();  // of the last session, which no residual follows
                if (first + p < n_factors) pairs[p].place(n_roots, &most, out + i * 4);
            }
        }
    }
}

// Climbs from the starts (J, 6); writes coefficients (6), value, S, mu, steps taken, and what the
// next step is to gain, (J, 11).
KERNEL climb(long long n_jobs, long long n_windows, const double *values, const long long *which,
             const long long *lengths, const long long *orders, const double *means,
             const double *starts, long long most, long long exact, double *out) {
    EACH(i, n_jobs) {
        const Job job = job_at(i, n_windows, values, which, lengths, orders, means);
        Climb climb;
        climb.run(job, starts + i * K, most, exact != 0);
        double *written = out + i * N_OUT;
        for (int k = 0; k < K; ++k) written[k] = climb.x[k];
        written[K] = climb.value;
        written[K + 1] = climb.least;
        written[K + 2] = climb.mean;
        written[K + 3] = (double)climb.taken;
        written[K + 4] = climb.left;
    }
}

// Writes the last three residuals, (J, 3), at coefficients (J, 6).
KERNEL last_residuals(long long n_jobs, long long n_windows, const double *values,
                      const long long *which, const long long *lengths, const long long *orders,
                      const double *means, const double *coefficients, double *out) {
    EACH(i, n_jobs) {
        const Job job = job_at(i, n_windows, values, which, lengths, orders, means);
        double x[K];
        for (int k = 0; k < K; ++k) x[k] = coefficients[i * K + k];
        Likelihood at;
        evaluate(job, x, at);
        Residuals residuals(x, at);
        for (long long t = 0; t < job.n; ++t) {
            const double e0 = residuals.next(t, job.value(t));
            if (t >= job.n - N_LAGS) out[i * N_LAGS + t - (job.n - N_LAGS)] = e0;
        }
    }
}
