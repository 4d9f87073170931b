"""Log-likelihood, gradient and Hessian of a GARCH model in one pass, eight windows at a time.

Each derivative of s(t) is an input filtered by ``1 / (1 - beta_1 B - beta_2 B^2)``, like s itself.

References
----------
Fiorentini, Calzolari and Panattoni (1996), Journal of Applied Econometrics 11, 399-417.
"""

from typing import Any

from pmx_ray._typing import FloatArray
from pmx_ray.kernels.compiling import compiled_lanes, inner
from pmx_ray.kernels.garch_likelihood import BACK, LOG_2, LOG_2_PI, ROWS, Form, student_constant
from pmx_ray.kernels.lanes import exponent, fma, load, log, mantissa, spread, store, where
from pmx_ray.kernels.special import digamma, trigamma

LOGLIK = ROWS
"""Row of a gradient that holds the log-likelihood."""

BANK_ROWS = 72
"""Rows of the bank of filters."""

PATH_ROWS = 5
"""Rows a session of the path: s, its derivatives of the density, and what is to come of it."""

_BANKS = (0, 8, 16, 32, 48, 56, 64)  # where each kind of filter starts


@compiled_lanes
def derivatives(
    y: FloatArray,
    facts: FloatArray,
    form: Form,
    x: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
    bank: FloatArray,
) -> None:
    """Write gradient, lower Hessian and, after the gradient, the log-likelihood.

    ``bank`` holds the filters: the first derivatives of s by parameter, their lag, the second
    derivatives by parameter and beta, their lags, those by parameter and mean, their lag, and the
    coming inputs of the first.
    """
    at_alpha = form.mean + 1
    at_delta = at_alpha + form.p
    at_beta = at_delta + form.o
    k = at_beta + form.q  # of the variance; nu comes after
    first, lagged, second, second_lagged, meanwise, meanwise_lagged, inputs = _BANKS
    mu = load(x, 0) if form.mean else spread(0.0)
    omega, alpha, beta = load(x, form.mean), load(x, at_alpha), load(x, at_beta)
    delta = load(x, at_delta) if form.o else alpha
    alpha_2 = load(x, at_alpha + 1) if form.p > 1 else spread(0.0)
    beta_2 = load(x, at_beta + 1) if form.q > 1 else spread(0.0)
    nu = load(x, k) if form.student else spread(3.0)
    width = 1.0 / (nu - 2.0)
    power = 0.5 * (nu + 1.0)
    back = load(facts, BACK)
    for row in range(len(bank)):
        store(bank, row, 0.0)
    for i in range(ROWS):
        store(gradient, i, 0.0)
        for j in range(ROWS):
            store(hessian, i * ROWS + j, 0.0)
    # Before the window squares and variances are the backcast, and do not depend on parameters.
    store(bank, first + form.mean, 1.0)
    store(bank, first + at_alpha, (0.5 if form.o else 1.0) * back)
    if form.p > 1:
        store(bank, first + at_alpha + 1, back)
    if form.o:
        store(bank, first + at_delta, 0.5 * back)
    for j in range(form.q):
        store(bank, first + at_beta + j, back)
    s = omega + (0.5 * (alpha + delta) + alpha_2 + beta + beta_2) * back
    s_before, e_before, square_before = back, spread(0.0), back
    product, powers = spread(1.0), spread(0.0)
    tails, tail_powers, total = spread(1.0), spread(0.0), spread(0.0)
    by_nu, by_nu_twice = spread(0.0), spread(0.0)
    by_mean, by_mean_twice = spread(0.0), spread(0.0)
    s_mean_twice, s_mean_twice_before = spread(0.0), spread(0.0)
    n = len(y)
    for t in range(n):
        e = load(y, t) - mu
        square = e * e
        product = product * s
        # Derivatives of the log density by s, s twice, e, e twice, and both.
        if form.student:
            stretched = s + square * width
            tails = tails * stretched
            quotient = 1.0 / (s * stretched)
            inverse = quotient * stretched
            shrink = quotient * s * s
            share = square * width * quotient * s
            by_s = (power * share - 0.5) * inverse
            by_s_twice = (0.5 - power * share * (1.0 + shrink)) * inverse * inverse
            slope = 2.0 * power * width * inverse * shrink
            by_e = -slope * e
            by_e_twice = -slope * (shrink - share)
            by_both = slope * e * inverse * shrink
            nu_s = share * (0.5 - power * width * shrink) * inverse
            nu_e = (2.0 * power * width * shrink - 1.0) * e * inverse * width * shrink
            by_nu = by_nu + power * width * share
            by_nu_twice = by_nu_twice + share * width * (1.0 - power * width * (1.0 + shrink))
        else:
            inverse = 1.0 / s
            z = square * inverse
            total = total + z
            by_s = (0.5 * z - 0.5) * inverse
            by_s_twice = (0.5 - z) * inverse * inverse
            by_e = -e * inverse
            by_e_twice = -inverse
            by_both = e * inverse * inverse
            nu_s = nu_e = by_s
        if t & 15 == 15:
            powers = powers + exponent(product)
            product = mantissa(product)
            if form.student:
                tail_powers = tail_powers + exponent(tails)
                tails = mantissa(tails)
        for i in range(k):
            d = load(bank, first + i)
            store(gradient, i, fma(by_s, d, load(gradient, i)))
            weighted = by_s_twice * d
            for j in range(i + 1):
                at = i * ROWS + j
                store(hessian, at, fma(weighted, load(bank, first + j), load(hessian, at)))
            if form.student:
                at = k * ROWS + i
                store(hessian, at, fma(nu_s, d, load(hessian, at)))
        for j in range(form.q):
            for i in range(at_beta + j + 1):
                at = (at_beta + j) * ROWS + i
                curved = load(bank, second + j * ROWS + i)
                store(hessian, at, fma(by_s, curved, load(hessian, at)))
        bad = e < 0.0
        response = where(bad, delta, alpha)
        if form.mean:
            by_mean = by_mean - by_e
            twice = by_s * s_mean_twice - 2.0 * by_both * load(bank, first) + by_e_twice
            by_mean_twice = by_mean_twice + twice
            for i in range(1, k):
                at = i * ROWS
                change = by_s * load(bank, meanwise + i) - by_both * load(bank, first + i)
                store(hessian, at, load(hessian, at) + change)
            if form.student:
                at = k * ROWS
                store(hessian, at, load(hessian, at) - nu_e)
            coming = 2.0 * response + beta * s_mean_twice + beta_2 * s_mean_twice_before
            if t > 0:
                coming = coming + 2.0 * alpha_2
            s_mean_twice_before, s_mean_twice = s_mean_twice, coming
            for i in range(at_alpha, at_beta):
                if i == at_delta and form.o:
                    input_ = where(bad, -2.0 * e, 0.0)
                elif i == at_alpha:
                    input_ = where(bad, 0.0, -2.0 * e) if form.o else -2.0 * e
                else:
                    input_ = -2.0 * e_before
                _filter(bank, meanwise + i, meanwise_lagged + i, input_, beta, beta_2, form.q)
            store(bank, inputs, -2.0 * (response * e + alpha_2 * e_before))
        for j in range(form.q):
            for i in range(at_beta + j + 1):
                # d/d beta_j of d_i is d_i j lags ago, and of beta_i times s also d_j i lags ago.
                input_ = load(bank, (lagged if j else first) + i)
                if i >= at_beta:
                    lag = lagged if i > at_beta else first
                    input_ = input_ + load(bank, lag + at_beta + j)
                at = j * ROWS + i
                _filter(bank, second + at, second_lagged + at, input_, beta, beta_2, form.q)
        store(bank, inputs + form.mean, 1.0)
        if form.o:
            store(bank, inputs + at_alpha, where(bad, 0.0, square))
            store(bank, inputs + at_delta, where(bad, square, 0.0))
        else:
            store(bank, inputs + at_alpha, square)
        if form.p > 1:
            store(bank, inputs + at_alpha + 1, square_before)
        store(bank, inputs + at_beta, s)
        if form.q > 1:
            store(bank, inputs + at_beta + 1, s_before)
        for i in range(k):
            input_ = load(bank, inputs + i)
            _filter(bank, first + i, lagged + i, input_, beta, beta_2, form.q)
        following = omega + response * square + alpha_2 * square_before
        following = following + beta * s + beta_2 * s_before
        e_before, square_before, s_before, s = e, square, s, following
    if form.mean:
        store(gradient, 0, load(gradient, 0) + by_mean)
        store(hessian, 0, load(hessian, 0) + by_mean_twice)
    log_product = powers * LOG_2 + log(product)
    value = -0.5 * log_product
    if form.student:
        log_tails = tail_powers * LOG_2 + log(tails) - log_product
        half = 0.5 * nu
        constant = 0.5 * (digamma(half + 0.5) - digamma(half) - width)
        curvature = 0.25 * (trigamma(half + 0.5) - trigamma(half)) + 0.5 * width * width
        store(gradient, k, by_nu - 0.5 * log_tails + n * constant)
        store(hessian, k * ROWS + k, by_nu_twice + n * curvature)
        value = value - power * log_tails + n * student_constant(nu)
    else:
        value = value - 0.5 * (n * LOG_2_PI + total)
    store(gradient, LOGLIK, value)


@inner
def _filter(
    bank: FloatArray, at: int, at_lag: int, value: Any, beta: Any, beta_2: Any, q: int
) -> None:
    """Step one filter of the bank."""
    current = load(bank, at)
    value = fma(beta, current, value)
    if q > 1:
        value = fma(beta_2, load(bank, at_lag), value)
        store(bank, at_lag, current)
    store(bank, at, value)


@compiled_lanes
def derivatives_of_one_lag(
    y: FloatArray,
    facts: FloatArray,
    form: Form,
    x: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
    path: FloatArray,
) -> None:
    """Do what ``derivatives`` does for p = q = 1, with every filter in a register.

    What s(t) adds to gradient and Hessian is linear in its derivatives, which are filtered inputs:
    the same sums come of the inputs, weighted by what the slopes give when they are filtered by
    the same filter from the end to the beginning (the adjoint), and no second derivative of s is
    computed at all. ``path`` holds ``PATH_ROWS`` rows a session from one sweep to the next.
    """
    at_alpha = form.mean + 1
    at_beta = at_alpha + 1 + form.o
    mu = load(x, 0) if form.mean else spread(0.0)
    omega, alpha, beta = load(x, form.mean), load(x, at_alpha), load(x, at_beta)
    delta = load(x, at_beta - 1) if form.o else alpha
    nu = load(x, at_beta + 1) if form.student else spread(3.0)
    width = 1.0 / (nu - 2.0)
    power = 0.5 * (nu + 1.0)
    back = load(facts, BACK)
    asymmetric = spread(float(form.o)) > 0.5
    zero = spread(0.0)
    s = omega + (0.5 * (alpha + delta) + beta) * back
    product, powers = spread(1.0), zero
    tails, tail_powers, total = spread(1.0), zero, zero
    g_m = g_n = h_mm = h_mn = h_nn = zero
    n = len(y)
    # The first sweep: derivatives of the log density by s, s twice, e, e twice, and both.
    for t in range(n):
        e = load(y, t) - mu
        square = e * e
        product = product * s
        if form.student:
            stretched = fma(square, width, s)
            tails = tails * stretched
            quotient = 1.0 / (s * stretched)
            inverse = quotient * stretched
            shrink = quotient * s * s
            share = square * width * quotient * s
            by_s = (power * share - 0.5) * inverse
            by_s_twice = (0.5 - power * share * (1.0 + shrink)) * inverse * inverse
            slope = 2.0 * power * width * inverse * shrink
            by_both = slope * e * inverse * shrink
            nu_e = (2.0 * power * width * shrink - 1.0) * e * inverse * width * shrink
            g_n = fma(power * width, share, g_n)
            h_nn = h_nn + share * width * (1.0 - power * width * (1.0 + shrink))
            h_mn = h_mn - nu_e
            g_m = fma(slope, e, g_m)
            h_mm = h_mm - slope * (shrink - share)
            store(path, PATH_ROWS * t + 4, share * (0.5 - power * width * shrink) * inverse)
        else:
            inverse = 1.0 / s
            z = square * inverse
            total = total + z
            by_s = fma(0.5, z, -0.5) * inverse
            squared = inverse * inverse
            by_s_twice = (0.5 - z) * squared
            by_both = e * squared
            g_m = fma(e, inverse, g_m)
            h_mm = h_mm - inverse
        if t & 15 == 15:
            powers = powers + exponent(product)
            product = mantissa(product)
            if form.student:
                tail_powers = tail_powers + exponent(tails)
                tails = mantissa(tails)
        store(path, PATH_ROWS * t, s)
        store(path, PATH_ROWS * t + 1, by_s)
        store(path, PATH_ROWS * t + 2, by_s_twice)
        store(path, PATH_ROWS * t + 3, by_both)
        response = where((e < 0.0) & asymmetric, delta, alpha)
        s = fma(beta, s, fma(response, square, omega))
    # The second sweep, backwards: what a unit of input adds to all slopes that come after it, and
    # its sums, with e and with its square; those after bad news besides.
    ahead = zero
    plain = with_e = with_square = bad_plain = bad_with_e = bad_with_square = g_b = zero
    for back_t in range(n):
        t = n - 1 - back_t
        e = load(y, t) - mu
        bad = (e < 0.0) & asymmetric
        by_e = ahead * e
        by_square = by_e * e
        plain, bad_plain = plain + ahead, where(bad, bad_plain + ahead, bad_plain)
        with_e, bad_with_e = with_e + by_e, where(bad, bad_with_e + by_e, bad_with_e)
        with_square = with_square + by_square
        bad_with_square = where(bad, bad_with_square + by_square, bad_with_square)
        g_b = fma(ahead, load(path, PATH_ROWS * t), g_b)
        before = fma(beta, ahead, load(path, PATH_ROWS * t + 1))
        store(path, PATH_ROWS * t + 1, ahead)
        ahead = before
    # First derivatives of s by mu, omega, alpha, delta and beta.
    d_m, d_o, d_a = zero, spread(1.0), where(asymmetric, 0.5 * back, back)
    d_d, d_b = where(asymmetric, 0.5 * back, 0.0), back
    g_m = g_m - 2.0 * fma(alpha, with_e - bad_with_e, delta * bad_with_e)
    g_o, g_b = plain + ahead, fma(ahead, d_b, g_b)
    g_a, g_d = fma(ahead, d_a, with_square - bad_with_square), fma(ahead, d_d, bad_with_square)
    h_mm = h_mm + 2.0 * fma(alpha, plain - bad_plain, delta * bad_plain)
    h_ma, h_md = -2.0 * (with_e - bad_with_e), -2.0 * bad_with_e
    h_mo = h_mb = h_oo = h_oa = h_od = h_ob = h_aa = h_ad = h_ab = h_dd = h_db = h_bb = zero
    h_on = h_an = h_dn = h_bn = zero
    # The third sweep: what remains of the Hessian is products of first derivatives.
    for t in range(n):
        e = load(y, t) - mu
        square = e * e
        ahead, by_s_twice = load(path, PATH_ROWS * t + 1), load(path, PATH_ROWS * t + 2)
        bad = (e < 0.0) & asymmetric
        if form.student:
            nu_s = load(path, PATH_ROWS * t + 4)
            h_mn = fma(nu_s, d_m, h_mn)
            h_on = fma(nu_s, d_o, h_on)
            h_an = fma(nu_s, d_a, h_an)
            h_dn = fma(nu_s, d_d, h_dn)
            h_bn = fma(nu_s, d_b, h_bn)
        weighted = fma(by_s_twice, d_b, ahead)
        h_ob = fma(weighted, d_o, h_ob)
        h_ab = fma(weighted, d_a, h_ab)
        h_bb = fma(weighted + ahead, d_b, h_bb)
        if form.o:
            h_db = fma(weighted, d_d, h_db)
            weighted = by_s_twice * d_d
            h_od = fma(weighted, d_o, h_od)
            h_ad = fma(weighted, d_a, h_ad)
            h_dd = fma(weighted, d_d, h_dd)
        if form.mean:
            by_both = load(path, PATH_ROWS * t + 3)
            weighted = fma(by_s_twice, d_m, -by_both)
            h_mo = fma(weighted, d_o, h_mo)
            h_ma = fma(weighted, d_a, h_ma)
            if form.o:
                h_md = fma(weighted, d_d, h_md)
            h_mb = fma(ahead, d_m, fma(weighted, d_b, h_mb))
            h_mm = fma(weighted - by_both, d_m, h_mm)
            d_m = fma(beta, d_m, -2.0 * e * where(bad, delta, alpha))
        weighted = by_s_twice * d_o
        h_oo = fma(weighted, d_o, h_oo)
        h_oa = fma(weighted, d_a, h_oa)
        h_aa = fma(by_s_twice * d_a, d_a, h_aa)
        d_o = fma(beta, d_o, 1.0)
        d_a = fma(beta, d_a, where(bad, 0.0, square))
        d_b = fma(beta, d_b, load(path, PATH_ROWS * t))
        if form.o:
            d_d = fma(beta, d_d, where(bad, square, 0.0))
    log_product = powers * LOG_2 + log(product)
    value = -0.5 * log_product
    if form.student:
        log_tails = tail_powers * LOG_2 + log(tails) - log_product
        half = 0.5 * nu
        constant = 0.5 * (digamma(half + 0.5) - digamma(half) - width)
        curvature = 0.25 * (trigamma(half + 0.5) - trigamma(half)) + 0.5 * width * width
        g_n = g_n - 0.5 * log_tails + n * constant
        h_nn = h_nn + n * curvature
        value = value - power * log_tails + n * student_constant(nu)
    else:
        value = value - 0.5 * (n * LOG_2_PI + total)
    store(gradient, LOGLIK, value)
    at_omega, at_nu = form.mean, at_beta + 1
    if form.mean:
        store(gradient, 0, g_m)
        store(hessian, 0, h_mm)
        store(hessian, at_omega * ROWS, h_mo)
        store(hessian, at_alpha * ROWS, h_ma)
        store(hessian, at_beta * ROWS, h_mb)
    store(gradient, at_omega, g_o)
    store(gradient, at_alpha, g_a)
    store(gradient, at_beta, g_b)
    store(hessian, at_omega * ROWS + at_omega, h_oo)
    store(hessian, at_alpha * ROWS + at_omega, h_oa)
    store(hessian, at_alpha * ROWS + at_alpha, h_aa)
    store(hessian, at_beta * ROWS + at_omega, h_ob)
    store(hessian, at_beta * ROWS + at_alpha, h_ab)
    store(hessian, at_beta * ROWS + at_beta, h_bb)
    if form.o:
        at_delta = at_beta - 1
        store(gradient, at_delta, g_d)
        store(hessian, at_delta * ROWS + at_omega, h_od)
        store(hessian, at_delta * ROWS + at_alpha, h_ad)
        store(hessian, at_delta * ROWS + at_delta, h_dd)
        store(hessian, at_beta * ROWS + at_delta, h_db)
        if form.mean:
            store(hessian, at_delta * ROWS, h_md)
        if form.student:
            store(hessian, at_nu * ROWS + at_delta, h_dn)
    if form.student:
        store(gradient, at_nu, g_n)
        store(hessian, at_nu * ROWS + at_omega, h_on)
        store(hessian, at_nu * ROWS + at_alpha, h_an)
        store(hessian, at_nu * ROWS + at_beta, h_bn)
        store(hessian, at_nu * ROWS + at_nu, h_nn)
        if form.mean:
            store(hessian, at_nu * ROWS, h_mn)
