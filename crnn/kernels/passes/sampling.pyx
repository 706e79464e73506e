# Texts that a network writes: symbols are chosen from its outputs, which are logits, and are what
# it is given next.
#
# Symbols have an order: by their logits, the largest first, and equal ones by their numbers. A
# uniform number u stands for the first symbol up to which, in that order, weights sum up to more
# than u times their total. It is found without sorting: the range of logits in which it lies is
# narrowed until few are left, and these are gone through. In the same way is found which symbol is
# the last one that may be chosen.

from libc.float cimport DBL_EPSILON, DBL_MAX
from libc.math cimport INFINITY, fabs

cdef enum:
    FEW = 8                     # symbols that are gone through one by one

cdef struct Choice:             # how symbols are chosen
    double temperature          # above 0
    Py_ssize_t top_k            # among so many likeliest; 0: among all
    double top_p                # among those that together have this probability; 0: among all

cdef struct Symbols:            # from which one is chosen
    Py_ssize_t n
    double *logits              # (n,), filled up to whole lanes with -infinity
    double *weights             # (n,), filled up with 0
    double highest              # logit
    double step                 # of logits, in which they are looked through

cdef struct Split:              # of symbols by a threshold for their logits
    double weight               # of those above it
    double count                # how many these are


cdef inline Py_ssize_t in_lanes(Py_ssize_t n) noexcept nogil:
    # n, rounded up to whole lanes
    return (n + LOSS_LANES - 1) // LOSS_LANES * LOSS_LANES


cdef void split_symbols(Split *split, const Symbols *symbols, double threshold) noexcept nogil:
    # weight = weights[logits > threshold].sum(), count = (logits > threshold).sum()
    cdef Py_ssize_t i, j, whole = in_lanes(symbols.n) // LOSS_LANES
    cdef const double *logits = symbols.logits
    cdef const double *weights = symbols.weights
    cdef double weight[LOSS_LANES]
    cdef double count[LOSS_LANES]
    cdef double own
    for j in range(LOSS_LANES):
        weight[j] = count[j] = 0
    for i in range(whole):
        for j in range(LOSS_LANES):
            own = weights[i * LOSS_LANES + j]
            weight[j] = weight[j] + (own if logits[i * LOSS_LANES + j] > threshold else 0)
        for j in range(LOSS_LANES):
            count[j] = count[j] + (1 if logits[i * LOSS_LANES + j] > threshold else 0)
    split.weight, split.count = sum_of_lanes(weight), sum_of_lanes(count)


cdef bint take_logits(Symbols *symbols, const real *y) noexcept nogil:
    # y (n,); returns whether they are finite
    cdef Py_ssize_t j
    cdef int others = 0
    for j in range(symbols.n):
        symbols.logits[j] = y[j]
    for j in range(symbols.n):
        others += y[j] - y[j] != 0      # infinity - infinity is NaN, and NaN is not 0
    symbols.highest = largest_of(y, symbols.n)
    return others == 0


cdef double exponentiate(Symbols *symbols, double temperature) noexcept nogil:
    # weights = exp((logits - highest) / temperature); returns their sum
    cdef Py_ssize_t _i, j, whole = in_lanes(symbols.n) // LOSS_LANES
    cdef double *weights = symbols.weights
    cdef const double *logits = symbols.logits
    cdef double highest = symbols.highest
    cdef double total[LOSS_LANES]
    for j in range(LOSS_LANES):
        total[j] = 0
    for _i in range(whole):
        for j in range(LOSS_LANES):
            weights[j] = exp_below_1_double((logits[j] - highest) / temperature)
        for j in range(LOSS_LANES):
            total[j] = total[j] + weights[j]
        logits, weights = logits + LOSS_LANES, weights + LOSS_LANES
    return sum_of_lanes(total)


cdef double total_of(const Symbols *symbols) noexcept nogil:
    # weights.sum()
    cdef Split split
    split_symbols(&split, symbols, -INFINITY)
    return split.weight


cdef double between(double low, double high) noexcept nogil:
    # a number that is at least the lower, and below the higher one
    cdef double middle = low / 2 + high / 2
    return middle if low <= middle < high else low


cdef Py_ssize_t symbol_of_few(
    const Symbols *symbols, double low, double high, double before, double target
) noexcept nogil:
    # the first one up to which weights, in order, sum up to more than the target, of those, at most
    # FEW, with logits above low, and high at most; before: the weight of those above
    cdef Py_ssize_t _i, j, n = 0, likeliest, symbol = 0
    cdef double logit, highest
    cdef double logits[FEW + 1]         # the one beyond is written to, and means nothing
    cdef Py_ssize_t places[FEW + 1]
    for j in range(symbols.n):
        logit = symbols.logits[j]
        logits[n], places[n] = logit, j
        n += (logit > low) & (logit <= high)
    for _i in range(n):
        likeliest, highest = 0, -INFINITY
        for j in range(n):
            if logits[j] > highest:
                likeliest, highest = j, logits[j]
        symbol, logits[likeliest] = places[likeliest], -INFINITY
        before = before + symbols.weights[symbol]
        if before > target:
            break
    return symbol


cdef Py_ssize_t symbol_of_equals(
    const Symbols *symbols, double low, double high, double before, double target
) noexcept nogil:
    # the same of any number of them, which have all the same logit
    cdef Py_ssize_t j, symbol = 0
    for j in range(symbols.n):
        if low < symbols.logits[j] <= high and before <= target:
            symbol, before = j, before + symbols.weights[j]
    return symbol


cdef Py_ssize_t symbol_at(const Symbols *symbols, double target) noexcept nogil:
    # the same of all symbols. Its logit lies above low, and is high at most, which are looked for
    # in steps that double, from the highest logit down, and then by halving.
    cdef double low = -INFINITY, high = symbols.highest, step = symbols.step, threshold
    cdef Split above_high, above_low, split
    above_high.weight = above_high.count = 0
    above_low.count = symbols.n
    while above_low.count - above_high.count > FEW:
        threshold = between(low, high) if low > -INFINITY else max(high - step, -DBL_MAX)
        if not low < threshold < high:      # there is no number between
            return symbol_of_equals(symbols, low, high, above_high.weight, target)
        split_symbols(&split, symbols, threshold)
        if split.weight > target:
            low, above_low = threshold, split
        else:
            high, above_high, step = threshold, split, 2 * step
    return symbol_of_few(symbols, low, high, above_high.weight, target)


cdef Py_ssize_t likeliest(const Symbols *symbols) noexcept nogil:
    # logits.argmax()
    cdef Py_ssize_t j
    for j in range(symbols.n):
        if symbols.logits[j] == symbols.highest:
            return j
    return 0


cdef void leave_out_after(Symbols *symbols, Py_ssize_t last) noexcept nogil:
    # weights = 0 of those that come after this one in order
    cdef Py_ssize_t j
    cdef double logit, lowest = symbols.logits[last]
    for j in range(symbols.n):
        logit = symbols.logits[j]
        if logit < lowest or (logit == lowest and j > last):
            symbols.weights[j] = 0


cdef Py_ssize_t symbol_of(const Symbols *symbols, double target, double total) noexcept nogil:
    # symbol_at; sums are rounded, so that all but 1e-12 of the total counts as all of it
    return symbol_at(symbols, min(target, total * (1 - 1e-12)))


cdef Py_ssize_t choose(Symbols *symbols, const Choice *choice, double uniform) noexcept nogil:
    # the symbol that a number from 0 up to but below 1 stands for; overwrites weights
    cdef Py_ssize_t j, last = 0
    cdef double target, total
    if choice.top_k == 1:
        return likeliest(symbols)
    # most of the weight is in the first steps; none is too small to come to another number
    symbols.step = max(2 * choice.temperature, DBL_EPSILON * fabs(symbols.highest))
    if choice.top_k:
        for j in range(symbols.n):
            symbols.weights[j] = 1
        last = symbol_at(symbols, choice.top_k - 1)
    total = exponentiate(symbols, choice.temperature)
    if choice.top_k:
        leave_out_after(symbols, last)
        total = total_of(symbols)
    if choice.top_p > 0:
        target = choice.top_p * total       # sums that are equal to it are enough
        target = target - target * (1.0 / 9007199254740992.0)       # the number below
        leave_out_after(symbols, symbol_of(symbols, target, total))
        total = total_of(symbols)
    return symbol_of(symbols, uniform * total, total)


cdef struct Texts:              # that are written, in groups: each is one thread's work
    void **steppers             # one for each group
    Py_ssize_t each             # texts of a group; of the last one there may be fewer
    Py_ssize_t n                # symbols that there are, V
    real *y                     # (B, V)
    Py_ssize_t *latest          # (B,): the last symbols of texts
    double *numbers             # (groups, 2, V in whole lanes): logits and weights
    Py_ssize_t *tokens          # (B, T): what is written
    const double *uniforms      # (B, T)
    Py_ssize_t steps            # T
    Py_ssize_t end
    Py_ssize_t *reached         # (groups,): steps that were taken
    Choice choice


cdef void write_part(
    const Texts *texts, Stepper stepper, Py_ssize_t group, Pulse *pulse
) noexcept nogil:
    # T steps of the texts of a group, or to the end of one alone, or to outputs that are not finite
    cdef Py_ssize_t t, b, symbol = 0, first = group * texts.each, n = texts.n
    cdef Py_ssize_t every = max(
        1, <Py_ssize_t> (LOOKED_WORK / (1 + stepper.batch_size * stepper.work)))
    cdef Symbols symbols
    symbols.n = n
    symbols.logits = texts.numbers + group * 2 * in_lanes(n)
    symbols.weights = symbols.logits + in_lanes(n)
    for t in range(texts.steps):
        texts.reached[group] = t
        if t % every == 0 and must_stop(pulse):
            return
        stepper.run(texts.y + first * n, NULL, texts.latest + first)
        stepper.turn()
        for b in range(first, first + stepper.batch_size):
            if not take_logits(&symbols, texts.y + b * n):
                return
            symbol = choose(&symbols, &texts.choice, texts.uniforms[b * texts.steps + t])
            texts.latest[b] = texts.tokens[b * texts.steps + t] = symbol
        texts.reached[group] = t + 1
        if symbol == texts.end:
            return


cdef void write_group(
    const Texts *texts, Py_ssize_t phase, Py_ssize_t group, Pulse *pulse
) noexcept nogil:
    write_part(texts, <Stepper> texts.steppers[group], group, pulse)


def write_texts(
    list steppers not None, y, numbers, latest, reached, tokens, uniforms, Py_ssize_t end,
    double temperature, Py_ssize_t top_k, double top_p,
):
    """Go on with texts: fill tokens (B, T), given numbers (B, T) from 0 up to but below 1.

    See `crnn.engine.sampling.CompiledSampler`, which has made the arrays.

    Returns
    -------
    int
        After how many steps it came to outputs that are not finite, or a text that is alone to its
        end, which is this symbol; T, if to neither.
    """
    cdef Texts texts
    cdef Stepper stepper
    cdef Py_ssize_t k, groups = len(steppers), reached_all
    cdef double work = 0
    texts.steppers = NULL
    texts.y, texts.latest, texts.reached = pointer(y), indices(latest), indices(reached)
    texts.numbers = <double *> cnp.PyArray_DATA(<cnp.ndarray> numbers)
    texts.tokens, texts.steps = indices(tokens), cnp.PyArray_DIM(<cnp.ndarray> tokens, 1)
    texts.uniforms = <double *> cnp.PyArray_DATA(<cnp.ndarray> uniforms)
    texts.n, texts.end = cnp.PyArray_DIM(<cnp.ndarray> y, 1), end
    texts.choice.temperature, texts.choice.top_k, texts.choice.top_p = temperature, top_k, top_p
    texts.each = (<Stepper?> steppers[0]).batch_size
    for stepper in steppers:
        stepper.expect(cnp.PyArray_SIZE(<cnp.ndarray> tokens))
        while not stepper.is_fresh(False):
            stepper.pack(False)
        work += stepper.work * <double> (stepper.batch_size * texts.steps)
    put_places(&texts.steppers, steppers)
    try:
        run_tasks(<Task> write_group, &texts, &groups, 1, min(groups, threads_for(work)))
    finally:
        PyMem_Free(texts.steppers)
    reached_all = texts.steps
    for k in range(groups):
        reached_all = min(reached_all, texts.reached[k])
    return reached_all
