"""Every compiled function against its NumPy twin, and bits that AVX2 and AVX-512 must share.

What the classes run is in test_twins_networks.py.

Differences are measured against the largest entry of each array: a sum whose terms cancel has no
accuracy of its own, so a tolerance for every single entry would say nothing.
"""

import inspect

import numpy as np
import pytest
from builds import (
    each_dtype,
    each_instruction_set,
    kernels_of,
    needs_avx512,
    normal,
)
from formula_cases import CASES, run
from passes import assert_close, loss_of, outputs_for, targets_of, tolerance

from crnn import reference

pytestmark = pytest.mark.no_backend


# --- the functions -------------------------------------------------------------------------------

CLASSES = {  # and what runs them: test_twins_networks.py, and for waves tests/engine/test_waves.py
    "PassArguments", "Direction", "Layer", "Readout", "Pass", "Group", "Lanes", "Stepper",
    "Together", "Wave", "run_by_phases", "infer_by_phases",
}
IN_ENGINE = {"fold", "write_texts"}  # tests/engine/test_folding.py and test_sampling.py
EDGES = {"linear", "linear_gradients", "row_losses", "step"}  # test_twins_products.py and _cells.py


@each_instruction_set
@each_dtype
def test_every_compiled_function_has_a_case_and_a_twin(isa, dtype):
    module = vars(kernels_of(isa, dtype))
    public = {name for name, value in module.items() if not name.startswith("_")
              and callable(value) and value.__module__ == module["__name__"]}
    names = {case.values[0].__name__ for case in CASES}
    assert public - CLASSES - EDGES - IN_ENGINE - {"pack", "repack"} == names
    assert names <= set(reference.__all__)
    for name in names - {"activation"}:
        ours = inspect.signature(module[name]).parameters
        assert list(ours) == list(inspect.signature(getattr(reference, name)).parameters)


@each_instruction_set
@each_dtype
@pytest.mark.parametrize(("maker", "sizes"), CASES)
def test_function_equals_its_twin(rng, isa, dtype, maker, sizes):
    arguments, outputs, terms, steps = maker(rng, dtype, *sizes)
    name, rtol = maker.__name__, tolerance(dtype, terms, steps)
    ours, our_result = run(kernels_of(isa, dtype), name, arguments)
    theirs, their_result = run(reference, name, arguments)
    for i, (our, their) in enumerate(zip(ours[:outputs], theirs[:outputs], strict=True)):
        assert_close(our, their, rtol, f"argument {i}")
    for ours_or_theirs in (ours, theirs):
        for after, before in zip(ours_or_theirs[outputs:], arguments[outputs:], strict=True):
            np.testing.assert_array_equal(after, before, strict=isinstance(after, np.ndarray))
    assert type(our_result) is type(their_result)
    if isinstance(their_result, bool):
        assert our_result == their_result
    else:
        assert_close(our_result, their_result, rtol, "result")


@needs_avx512
@each_dtype
@pytest.mark.parametrize(("maker", "sizes"), CASES)
def test_avx2_and_avx512_give_the_same_bits(rng, dtype, maker, sizes):
    arguments = maker(rng, dtype, *sizes)[0]
    (wide, wide_result), (narrow, narrow_result) = (
        run(kernels_of(isa, dtype), maker.__name__, arguments) for isa in ("avx512", "avx2")
    )
    for ours, theirs in zip(wide, narrow, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=isinstance(ours, np.ndarray))
    assert wide_result == narrow_result


# --- losses --------------------------------------------------------------------------------------

LOSS_ROWS = [(1, 1, 3), (3, 1, 1), (1, 17, 33), (257, 1, 65), (3, 11, 257)]


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize("shape", LOSS_ROWS, ids=str)
@pytest.mark.parametrize("size", [5, 1000], ids=["logits", "logits that saturate"])
def test_loss_equals_its_twin(rng, isa, dtype, loss, shape, size):
    size = min(size, 20) if loss == "gaussian" else size  # its outputs are logarithms
    y = size * normal(rng, dtype, *shape[:2], outputs_for(loss, shape[2]))
    targets, weights = targets_of(rng, loss, dtype, shape)
    kept, dy = y.copy(), y.copy()
    losses = loss_of(kernels_of(isa, dtype), loss, dy, targets, weights, 0.37)
    expected, expected_dy = reference.LOSSES[loss](y, targets, weights, scale=0.37)
    np.testing.assert_array_equal(y, kept)
    assert_close(losses, expected, tolerance(dtype, shape[2]), "losses")
    assert_close(dy, expected_dy, tolerance(dtype, shape[2]), "dy")


@needs_avx512
@each_dtype
@pytest.mark.parametrize("loss", reference.LOSSES)
def test_avx2_and_avx512_give_the_same_bits_of_losses(rng, dtype, loss):
    """Sums over outputs, the only ones that a build may take in vectors of its own width."""
    for outputs in range(1, 40):
        for _ in range(20):
            y = 5 * normal(rng, dtype, 3, 1, outputs_for(loss, outputs))
            targets = targets_of(rng, loss, dtype, (3, 1, outputs))
            wide, narrow = y.copy(), y.copy()
            np.testing.assert_array_equal(
                loss_of(kernels_of("avx512", dtype), loss, wide, *targets, 0.37),
                loss_of(kernels_of("avx2", dtype), loss, narrow, *targets, 0.37),
            )
            np.testing.assert_array_equal(wide, narrow)
