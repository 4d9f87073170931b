// GARCH by maximum likelihood, a window a thread: what kernels/garch*.py does in lanes.
//
// The formulas, their order and their names are those of kernels/garch_likelihood.py,
// garch_derivatives.py, garch_search.py and special.py, which explain them. The model and every
// constant of the search are macros, written in front of this text from the Python constants: the
// compiler drops what a model does not have, and the two sides cannot drift apart in a number.
//
// A window is a column of y (n, W), so that neighbouring threads read neighbouring addresses. The
// same text is C++ for a host, where a kernel is a loop over what would be its threads.

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#define PASS __device__ __noinline__  // its registers are its own; a search keeps few across it
#define KERNEL extern "C" __global__ void
#define EACH(i, count)                                                                     \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (count);      \
         i += (long long)gridDim.x * blockDim.x)
#define NEXT(counter) (long long)atomicAdd((unsigned long long *)(counter), 1ULL)
#define UNROLL _Pragma("unroll")
#else
#include <math.h>
#define DEVICE inline
#define PASS static
#define KERNEL extern "C" void
#define EACH(i, count) for (long long i = 0; i < (count); ++i)
#define NEXT(counter) (*(counter))++
#define UNROLL
#endif

enum {
    AT_OMEGA = FORM_MEAN,
    AT_ALPHA = AT_OMEGA + 1,
    AT_DELTA = AT_ALPHA + FORM_P,
    AT_BETA = AT_DELTA + FORM_O,
    AT_NU = AT_BETA + FORM_Q,  // and the number of parameters of the variance
    K = AT_NU + FORM_STUDENT
};

DEVICE double log_gamma(double z) {
    double product = z;
    for (int i = 1; i < 8; ++i) product *= z + i;
    const double far = z + 8.0, r = 1.0 / (far * far);
    const double series = 1.0 / 12.0
        - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)));
    return (far - 0.5) * log(far) - far + 0.5 * LOG_2_PI + series / far - log(product);
}

DEVICE double digamma(double z) {
    double below = 0.0;
    for (int i = 0; i < 8; ++i) below += 1.0 / (z + i);
    const double far = z + 8.0, r = 1.0 / (far * far);
    const double series = r
        * (1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * (1.0 / 240.0 - r / 132.0))));
    return log(far) - 0.5 / far - series - below;
}

DEVICE double trigamma(double z) {
    double below = 0.0;
    for (int i = 0; i < 8; ++i) below += 1.0 / ((z + i) * (z + i));
    const double far = z + 8.0, r = 1.0 / (far * far);
    const double series = 1.0 / 6.0
        - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r * (1.0 / 30.0 - r * 5.0 / 66.0)));
    return 1.0 / far + 0.5 * r + series * r / far + below;
}

DEVICE double student_constant(double nu) {
    const double half = 0.5 * nu;
    return log_gamma(half + 0.5) - log_gamma(half) - 0.5 * log(PI * (nu - 2.0));
}

// The logarithm of a long product: its exponent is set aside every 16 sessions.
struct Product {
    double value;
    long long powers;

    DEVICE void set_aside() {
        int power;
        value = frexp(value, &power);
        powers += power;
    }
    DEVICE double logarithm() const { return powers * LOG_2 + log(value); }
};

struct Coefficients {
    double mu, omega, alpha, alpha_2, delta, beta, beta_2, nu;

    DEVICE double first(double back) const {
        return omega + (0.5 * (alpha + delta) + alpha_2 + beta + beta_2) * back;
    }
    DEVICE double following(double response, double square, double square_before, double s,
                            double s_before) const {
        double next = omega + response * square + beta * s;
        if (FORM_P > 1) next += alpha_2 * square_before;
        if (FORM_Q > 1) next += beta_2 * s_before;
        return next;
    }
};

DEVICE Coefficients coefficients(const double *x) {
    Coefficients c;
    c.mu = FORM_MEAN ? x[0] : 0.0;
    c.omega = x[AT_OMEGA];
    c.alpha = x[AT_ALPHA];
    c.alpha_2 = FORM_P > 1 ? x[AT_DELTA - 1] : 0.0;
    c.delta = FORM_O ? x[AT_DELTA] : c.alpha;
    c.beta = x[AT_BETA];
    c.beta_2 = FORM_Q > 1 ? x[AT_NU - 1] : 0.0;
    c.nu = FORM_STUDENT ? x[K - 1] : 3.0;
    return c;
}

// One point of the grid on its way through a window.
struct Path {
    Coefficients c;
    double s, s_before, width, numerator, total;
    Product product, tails;

    DEVICE void begin(const double *x, double back) {
        c = coefficients(x);
        s = c.first(back);
        s_before = back;
        width = 1.0 / (c.nu - 2.0);
        numerator = total = 0.0;
        product.value = tails.value = 1.0;
        product.powers = tails.powers = 0;
    }
    DEVICE void step(long long t, double e, double square, double square_before) {
        // Fractions share a denominator for 16 sessions, since division is what costs.
        if (FORM_STUDENT) tails.value *= s + square * width;
        else numerator = numerator * s + square * product.value;
        product.value *= s;
        if ((t & 15) == 15) {
            if (!FORM_STUDENT) {
                total += numerator / product.value;
                numerator = 0.0;
            }
            product.set_aside();
            if (FORM_STUDENT) tails.set_aside();
        }
        const double response = FORM_O && e < 0.0 ? c.delta : c.alpha;
        const double next = c.following(response, square, square_before, s, s_before);
        s_before = s;
        s = next;
    }
    DEVICE double loglik(long long n) const {
        const double log_product = product.logarithm();
        if (!FORM_STUDENT)
            return -0.5 * (n * LOG_2_PI + log_product + (total + numerator / product.value));
        const double log_tails = tails.logarithm() - log_product;
        return n * student_constant(c.nu) - 0.5 * log_product - 0.5 * (c.nu + 1.0) * log_tails;
    }
};

DEVICE double filtered(double current, double before, double input, const Coefficients &c) {
    double next = input + c.beta * current;
    if (FORM_Q > 1) next += c.beta_2 * before;
    return next;
}

// Returns the log-likelihood of a column at x, with its gradient and lower Hessian.
PASS double derivatives(const double *y, long long n, long long n_windows, double back,
                        const double *x, double *gradient, double *hessian) {
    const Coefficients c = coefficients(x);
    const double width = 1.0 / (c.nu - 2.0), power = 0.5 * (c.nu + 1.0);
    // Derivatives of s: by parameter; by parameter and beta; by parameter and mean; a lag of each.
    double first[AT_NU], lagged[AT_NU], meanwise[AT_NU], meanwise_lagged[AT_NU];
    double second[FORM_Q][AT_NU], second_lagged[FORM_Q][AT_NU];
    double g[K], h[K][K];
    UNROLL for (int i = 0; i < AT_NU; ++i) {
        first[i] = lagged[i] = meanwise[i] = meanwise_lagged[i] = 0.0;
        UNROLL for (int j = 0; j < FORM_Q; ++j) second[j][i] = second_lagged[j][i] = 0.0;
    }
    UNROLL for (int i = 0; i < K; ++i) {
        g[i] = 0.0;
        UNROLL for (int j = 0; j < K; ++j) h[i][j] = 0.0;
    }
    // Before the window squares and variances are the backcast, and do not depend on parameters.
    first[AT_OMEGA] = 1.0;
    UNROLL for (int i = AT_ALPHA; i < AT_NU; ++i) first[i] = back;
    if (FORM_O) first[AT_ALPHA] = first[AT_DELTA] = 0.5 * back;
    double s = c.first(back), s_before = back, e_before = 0.0, square_before = back;
    double s_mean_twice = 0.0, s_mean_twice_before = 0.0, by_mean = 0.0, by_mean_twice = 0.0;
    double total = 0.0, by_nu = 0.0, by_nu_twice = 0.0;
    Product product = {1.0, 0}, tails = {1.0, 0};
    for (long long t = 0; t < n; ++t) {
        const double e = y[t * n_windows] - c.mu, square = e * e;
        double by_s, by_s_twice, by_e, by_e_twice, by_both, nu_s = 0.0, nu_e = 0.0;
        product.value *= s;
        // Derivatives of the log density by s, s twice, e, e twice, and both.
        if (FORM_STUDENT) {
            const double stretched = s + square * width;
            tails.value *= stretched;
            const double quotient = 1.0 / (s * stretched), inverse = quotient * stretched;
            const double shrink = quotient * s * s, share = square * width * quotient * s;
            by_s = (power * share - 0.5) * inverse;
            by_s_twice = (0.5 - power * share * (1.0 + shrink)) * inverse * inverse;
            const double slope = 2.0 * power * width * inverse * shrink;
            by_e = -slope * e;
            by_e_twice = -slope * (shrink - share);
            by_both = slope * e * inverse * shrink;
            nu_s = share * (0.5 - power * width * shrink) * inverse;
            nu_e = (2.0 * power * width * shrink - 1.0) * e * inverse * width * shrink;
            by_nu += power * width * share;
            by_nu_twice += share * width * (1.0 - power * width * (1.0 + shrink));
        } else {
            const double inverse = 1.0 / s, z = square * inverse;
            total += z;
            by_s = (0.5 * z - 0.5) * inverse;
            by_s_twice = (0.5 - z) * inverse * inverse;
            by_e = -e * inverse;
            by_e_twice = -inverse;
            by_both = e * inverse * inverse;
        }
        if ((t & 15) == 15) {
            product.set_aside();
            if (FORM_STUDENT) tails.set_aside();
        }
        UNROLL for (int i = 0; i < AT_NU; ++i) {
            g[i] += by_s * first[i];
            const double weighted = by_s_twice * first[i];
            UNROLL for (int j = 0; j <= i; ++j) h[i][j] += weighted * first[j];
            if (FORM_STUDENT) h[K - 1][i] += nu_s * first[i];
        }
        UNROLL for (int j = 0; j < FORM_Q; ++j) {
            UNROLL for (int i = 0; i <= AT_BETA + j; ++i) h[AT_BETA + j][i] += by_s * second[j][i];
        }
        const bool bad = FORM_O && e < 0.0;
        const double response = bad ? c.delta : c.alpha;
        double input[AT_NU];
        if (FORM_MEAN) {
            by_mean -= by_e;
            by_mean_twice += by_s * s_mean_twice - 2.0 * by_both * first[0] + by_e_twice;
            UNROLL for (int i = 1; i < AT_NU; ++i) {
                h[i][0] -= by_both * first[i];
                if (i >= AT_ALPHA && i < AT_BETA) h[i][0] += by_s * meanwise[i];
            }
            if (FORM_STUDENT) h[K - 1][0] -= nu_e;
            double coming = 2.0 * response + c.beta * s_mean_twice;
            if (FORM_Q > 1) coming += c.beta_2 * s_mean_twice_before;
            if (FORM_P > 1 && t > 0) coming += 2.0 * c.alpha_2;
            s_mean_twice_before = s_mean_twice;
            s_mean_twice = coming;
            UNROLL for (int i = AT_ALPHA; i < AT_BETA; ++i) {
                double slope = -2.0 * e_before;
                if (i == AT_ALPHA) slope = bad ? 0.0 : -2.0 * e;
                else if (FORM_O && i == AT_DELTA) slope = bad ? -2.0 * e : 0.0;
                const double next = filtered(meanwise[i], meanwise_lagged[i], slope, c);
                meanwise_lagged[i] = meanwise[i];
                meanwise[i] = next;
            }
            input[0] = -2.0 * response * e;
            if (FORM_P > 1) input[0] -= 2.0 * c.alpha_2 * e_before;
        }
        UNROLL for (int j = 0; j < FORM_Q; ++j) {
            UNROLL for (int i = 0; i <= AT_BETA + j; ++i) {
                // d/d beta_j of d_i is d_i j lags ago, and of beta_i times s also d_j i lags ago.
                double moved = j ? lagged[i] : first[i];
                if (i >= AT_BETA) moved += i > AT_BETA ? lagged[AT_BETA + j] : first[AT_BETA + j];
                const double next = filtered(second[j][i], second_lagged[j][i], moved, c);
                second_lagged[j][i] = second[j][i];
                second[j][i] = next;
            }
        }
        input[AT_OMEGA] = 1.0;
        if (FORM_P > 1) input[AT_DELTA - 1] = square_before;
        input[AT_ALPHA] = bad ? 0.0 : square;
        if (FORM_O) input[AT_DELTA] = bad ? square : 0.0;
        if (FORM_Q > 1) input[AT_NU - 1] = s_before;
        input[AT_BETA] = s;
        UNROLL for (int i = 0; i < AT_NU; ++i) {
            const double next = filtered(first[i], lagged[i], input[i], c);
            lagged[i] = first[i];
            first[i] = next;
        }
        const double next = c.following(response, square, square_before, s, s_before);
        e_before = e;
        square_before = square;
        s_before = s;
        s = next;
    }
    if (FORM_MEAN) {
        g[0] += by_mean;
        h[0][0] += by_mean_twice;
    }
    const double log_product = product.logarithm();
    double value = -0.5 * log_product;
    if (FORM_STUDENT) {
        const double log_tails = tails.logarithm() - log_product, half = 0.5 * c.nu;
        const double constant = 0.5 * (digamma(half + 0.5) - digamma(half) - width);
        g[K - 1] += by_nu - 0.5 * log_tails + n * constant;
        const double curvature = 0.25 * (trigamma(half + 0.5) - trigamma(half));
        h[K - 1][K - 1] += by_nu_twice + n * (curvature + 0.5 * width * width);
        value += n * student_constant(c.nu) - power * log_tails;
    } else {
        value -= 0.5 * (n * LOG_2_PI + total);
    }
    UNROLL for (int i = 0; i < K; ++i) {
        gradient[i] = g[i];
        UNROLL for (int j = 0; j <= i; ++j) hessian[i * K + j] = h[i][j];
    }
    return value;
}

// How much a parameter adds to the persistence.
DEVICE double weight(int i) {
    if (i < AT_ALPHA || i >= AT_NU) return 0.0;
    return FORM_O && (i == AT_ALPHA || i == AT_DELTA) ? 0.5 : 1.0;
}

// Writes the Cholesky factor of the negative Hessian, damped until there is one; returns the
// damping. What is held has a unit row.
DEVICE double factorise(const double *hessian, double damping, double stiffness, const bool *free,
                        double *factor) {
    for (int round = 0; round < FACTORISATIONS; ++round) {
        bool sound = true;
        for (int i = 0; i < K; ++i) {
            const double size = fabs(hessian[i * K + i]) + 1e-12;
            for (int j = 0; j <= i; ++j) {
                const double both = free[i] && free[j] ? 1.0 : 0.0;
                double value = (stiffness * weight(i) * weight(j) - hessian[i * K + j]) * both;
                if (i == j) value += damping * size * both + (1.0 - both);
                for (int c = 0; c < j; ++c) value -= factor[i * K + c] * factor[j * K + c];
                if (i == j) {
                    const bool fine = value > 1e-13 * size * both;
                    sound = sound && fine;
                    value = sqrt(fine ? value : 1.0);
                } else {
                    value /= factor[j * K + j];
                }
                factor[i * K + j] = value;
            }
        }
        if (sound) break;
        damping = damping < 1e-4 ? 1e-3 : damping * 10.0;
    }
    return damping;
}

// Solves with the factor; what is held gets zero.
DEVICE void solve(const double *factor, const double *right, const bool *free, double *solution) {
    for (int i = 0; i < K; ++i) {
        double value = free[i] ? right[i] : 0.0;
        for (int j = 0; j < i; ++j) value -= factor[i * K + j] * solution[j];
        solution[i] = value / factor[i * K + i];
    }
    for (int i = K - 1; i >= 0; --i) {
        double value = solution[i];
        for (int j = i + 1; j < K; ++j) value -= factor[j * K + i] * solution[j];
        solution[i] = value / factor[i * K + i];
    }
}

// A search: its best point, what is known there, and how it goes on.
struct Climb {
    double x[K], gradient[K], hessian[K * K], step[K];
    double best, promised, damping;
    int steps;

    DEVICE void begin(const double *start) {
        for (int i = 0; i < K; ++i) {
            x[i] = start[i];
            gradient[i] = 0.0;
            for (int j = 0; j < K; ++j) hessian[i * K + j] = 0.0;
        }
        best = 10.0 * NOWHERE;
        promised = -10.0 * NOWHERE;
        damping = FIRST_DAMPING;
        steps = 0;
    }

    // Takes the trial point where it is better than the best one, and sets the damping by it.
    DEVICE void judge(const double *trial, double value, const double *g, const double *h) {
        const bool better = value > best, fair = value - best > 0.25 * promised;
        if (best >= NOWHERE) {
            if (!better) damping = damping < 1e-5 ? 1e-4 : 10.0 * damping;
            else if (fair) damping *= 0.1;
        }
        ++steps;
        if (!better) return;
        best = value;
        for (int i = 0; i < K; ++i) {
            x[i] = trial[i];
            gradient[i] = g[i];
            for (int j = 0; j <= i; ++j) hessian[i * K + j] = h[i * K + j];
        }
    }

    // Writes the step that maximises the damped quadratic model over what the bounds leave free;
    // returns whether it promises anything.
    DEVICE bool newton_step() {
        bool free[K];
        double normal[K], factor[K * K], face[K], persistence = 0.0;
        for (int i = 0; i < K; ++i) {
            normal[i] = weight(i);
            persistence += normal[i] * x[i];
        }
        const double slack = MAX_PERSISTENCE - persistence;
        // On the face, what counts is the gradient along it; the betas are what is given up.
        double push = gradient[AT_BETA];
        if (FORM_Q > 1 && !(push > gradient[AT_NU - 1])) push = gradient[AT_NU - 1];
        const bool pressed = slack < ON_FACE && push > 0.0;
        for (int i = 0; i < K; ++i) {
            const double along = gradient[i] - (pressed ? push * normal[i] : 0.0);
            bool low = false, high = false;
            if (i == AT_OMEGA) low = x[i] <= MIN_OMEGA + 1e-12;
            else if (i >= AT_ALPHA && i < AT_NU) low = x[i] <= 1e-12;
            else if (FORM_STUDENT && i == AT_NU) {
                low = x[i] <= NU_LOW + 1e-12;
                high = x[i] >= NU_HIGH - 1e-9;
            }
            free[i] = !((low && along <= 0.0) || (high && along >= 0.0));
        }
        // Across a face that is pressed, the model need not be concave: stiffened, the step lies
        // in it.
        const double stiffness = pressed ? 1e3 * fabs(hessian[AT_BETA * K + AT_BETA]) : 0.0;
        damping = factorise(hessian, damping, stiffness, free, factor);
        solve(factor, gradient, free, step);
        solve(factor, normal, free, face);
        double ahead = 0.0, across = 0.0;
        for (int i = 0; i < K; ++i) {
            ahead += normal[i] * step[i];
            across += normal[i] * face[i];
        }
        const double excess = ahead - slack;
        const double over = excess > 0.0 && across > 0.0 ? excess / across : 0.0;
        promised = 0.0;
        for (int i = 0; i < K; ++i) {
            step[i] -= over * face[i];
            promised += 0.5 * gradient[i] * step[i];
        }
        // A damped step promises less than what is left to gain.
        const bool arrived = promised * (1.0 + damping) < TOLERANCE;
        const bool stuck = damping > MOST_DAMPING;
        if (stuck && !arrived) steps = MAX_STEPS;
        return !(arrived || stuck || steps >= MAX_STEPS);
    }

    // Returns whether it comes to the known maximum, or heads there, or cannot beat it.
    DEVICE bool given_up(const double *trial, const double *known, double beat) const {
        double distance = 0.0, coming = 0.0;
        for (int i = AT_ALPHA; i < AT_NU; ++i) {
            const double apart = fabs(x[i] - known[i]), then = fabs(trial[i] - known[i]);
            if (apart > distance) distance = apart;
            if (then > coming) coming = then;
        }
        const double behind = beat - best, hope = promised * (1.0 + damping);
        const bool same = distance < SAME && behind < BEHIND;
        bool heading = coming < SAME && fabs(behind - hope) < BEHIND;
        for (int i = AT_OMEGA; i < K; i += AT_NU - AT_OMEGA)  // the constant, degrees of freedom
            heading = heading && fabs(trial[i] - known[i]) < ALIKE * known[i];
        return same || heading || (behind > HOPE * hope + 0.5 && steps > 2);
    }

    // Writes the point one step on, brought back inside the bounds.
    DEVICE void bounded(double *trial) const {
        double persistence = 0.0;
        for (int i = 0; i < K; ++i) {
            double value = x[i] + step[i];
            if (i == AT_OMEGA) {
                const double least = 0.1 * x[i] > MIN_OMEGA ? 0.1 * x[i] : MIN_OMEGA;
                if (!(value > least)) value = least;
            } else if (i >= AT_ALPHA && i < AT_NU) {
                if (!(value > 0.0)) value = 0.0;
            } else if (FORM_STUDENT && i == AT_NU) {
                const double least = 0.5 * (x[i] + NU_LOW), most = 3.0 * x[i];
                if (!(value > least)) value = least;
                if (!(value < most)) value = most;
                if (!(value < NU_HIGH)) value = NU_HIGH;
            }
            persistence += weight(i) * value;
            trial[i] = value;
        }
        if (!(persistence > MAX_PERSISTENCE)) return;
        for (int i = AT_ALPHA; i < AT_NU; ++i) trial[i] *= MAX_PERSISTENCE / persistence;
    }
};

// Brings each column of returns to a root mean square of one, and writes its facts (FACTS, W).
KERNEL prepare(long long n_windows, long long n, double *returns, double *facts) {
    EACH(w, n_windows) {
        double *y = returns + w, mean = 0.0, total = 0.0;
        if (FORM_MEAN) {
            for (long long t = 0; t < n; ++t) mean += y[t * n_windows];
            mean /= n;
        }
        for (long long t = 0; t < n; ++t) {
            const double residual = y[t * n_windows] - mean;
            total += residual * residual;
        }
        const double scale = sqrt(total / n);
        double back = 0.0, weights = 0.0, discount = 1.0;
        for (long long t = 0; t < n; ++t) {
            const double standard = y[t * n_windows] / scale;
            if (t < BACKCAST_LENGTH) {
                const double residual = standard - mean / scale;
                back += discount * (residual * residual);
                weights += discount;
                discount *= BACKCAST_DECAY;
            }
            y[t * n_windows] = standard;
        }
        facts[FACT_MEAN * n_windows + w] = mean / scale;
        facts[FACT_SCALE * n_windows + w] = scale;
        facts[FACT_BACK * n_windows + w] = back / weights;
    }
}

// Writes the log-likelihood (C, W) of every window at C points of a grid (C, K); a thread takes
// AT_ONCE points through one reading of a window.
KERNEL survey(long long n_windows, long long n, const double *returns, const double *facts,
              long long n_points, const double *grid, double *values) {
    EACH(i, (n_points + AT_ONCE - 1) / AT_ONCE * n_windows) {
        const long long w = i % n_windows, begin = i / n_windows * AT_ONCE;
        const double *y = returns + w, back = facts[FACT_BACK * n_windows + w];
        Path paths[AT_ONCE];
        UNROLL for (int p = 0; p < AT_ONCE; ++p) {
            const long long point = begin + p < n_points ? begin + p : n_points - 1;
            double x[K];
            UNROLL for (int k = 0; k < K; ++k) x[k] = grid[point * K + k];
            if (FORM_MEAN) x[0] = facts[FACT_MEAN * n_windows + w];
            paths[p].begin(x, back);
        }
        double square = back;
        for (long long t = 0; t < n; ++t) {
            const double square_before = square, e = y[t * n_windows] - paths[0].c.mu;
            square = e * e;
            UNROLL for (int p = 0; p < AT_ONCE; ++p) paths[p].step(t, e, square, square_before);
        }
        UNROLL for (int p = 0; p < AT_ONCE; ++p) {
            const double value = paths[p].loglik(n);
            if (begin + p < n_points) values[(begin + p) * n_windows + w] = value;
        }
    }
}

// Climbs from each start (S, K) in the window ``which`` to a maximum within the bounds. A thread
// whose search has ended takes the next one of all: searches differ in length, and in a warp the
// others would wait for the longest. ``n_taken`` counts them, from zero.
KERNEL search(long long n_searches, long long n_windows, long long n, const double *returns,
              const double *facts, const long long *which, const double *starts,
              const double *known, const double *beat, long long *n_taken, double *points,
              double *values, long long *steps) {
    EACH(thread, n_searches) {
        double trial[K], gradient[K], hessian[K * K];
        Climb climb;
        long long i = 0, w = 0;
        for (bool moving = false;;) {
            if (!moving) {
                i = NEXT(n_taken);
                if (i >= n_searches) break;
                w = which[i];
                climb.begin(starts + i * K);
                for (int k = 0; k < K; ++k) trial[k] = climb.x[k];
            }
            const double value = derivatives(returns + w, n, n_windows,
                                             facts[FACT_BACK * n_windows + w], trial, gradient,
                                             hessian);
            climb.judge(trial, value, gradient, hessian);
            moving = climb.newton_step();
            climb.bounded(trial);
            moving = moving && !climb.given_up(trial, known + i * K, beat[i]);
            if (moving) continue;
            for (int k = 0; k < K; ++k) points[i * K + k] = climb.x[k];
            values[i] = climb.best;
            steps[i] = climb.steps;
        }
    }
}

// Writes the expected variances (H, W) after each window, in the squared unit of the returns, at
// parameters (W, K) for returns in their own unit.
KERNEL forecast(long long n_windows, long long n, const double *returns, const double *facts,
                const double *parameters, long long n_steps, double *ahead) {
    EACH(w, n_windows) {
        const double scale = facts[FACT_SCALE * n_windows + w];
        const double back = facts[FACT_BACK * n_windows + w];
        double x[K];
        UNROLL for (int k = 0; k < K; ++k) x[k] = parameters[w * K + k];
        if (FORM_MEAN) x[0] /= scale;
        x[AT_OMEGA] /= scale * scale;
        const Coefficients c = coefficients(x);
        double s = c.first(back), s_before = back, square = back;
        for (long long t = 0; t < n; ++t) {
            const double e = returns[t * n_windows + w] - c.mu, square_before = square;
            square = e * e;
            const double response = FORM_O && e < 0.0 ? c.delta : c.alpha;
            const double next = c.following(response, square, square_before, s, s_before);
            s_before = s;
            s = next;
        }
        for (long long h = 0; h < n_steps; ++h) {
            ahead[h * n_windows + w] = s * scale * scale;
            // The square of a session ahead is its own variance, which s is.
            const double next = c.following(0.5 * (c.alpha + c.delta), s, square, s, s_before);
            square = s_before = s;
            s = next;
        }
    }
}
