"""The functions of C that steps of layers are made of."""

import re

FUNCTIONS = {  # what each needs comes before it; capitals are put in
    "copy": """\
/* y = x */
static inline void PREFIX_copy(float *y, const float *x, int size)
{
    for (int j = 0; j < size; j++)
        y[j] = x[j];
}""",
    "add_product": """\
/* a += x @ W, where W has a row for each input and a column for each output */
static inline void PREFIX_add_product(
    float *a, const float *x, PARAMETERS, int inputs, int outputs)
{
    for (int i = 0; i < inputs; i++, W += outputs) {
        const float factor = FACTOR;
        for (int j = 0; j < outputs; j++)
            a[j] += factor * ELEMENT;
    }
}""",
    "add_row": """\
/* a += a row of W */
static inline void PREFIX_add_row(float *a, int row, PARAMETERS, int outputs)
{
    W += (long)row * outputs;
    for (int j = 0; j < outputs; j++)
        a[j] += ROW;
}""",
    "clip": """\
static inline float PREFIX_clip(float a, float bound)
{
    return a < -bound ? -bound : a > bound ? bound : a;
}""",
    "sigmoid": """\
static inline float PREFIX_sigmoid(float a)
{
    return 1.0f / (1.0f + expf(-a));
}""",
    "relu": """\
static inline float PREFIX_relu(float a)
{
    return a < 0.0f ? 0.0f : a;
}""",
    "hard_sigmoid": """\
/* a / 6 + 1/2, within [0, 1]: that of Keras 3, PyTorch */
static inline float PREFIX_hard_sigmoid(float a)
{
    return a < -3.0f ? 0.0f : a > 3.0f ? 1.0f : a * (1.0f / 6.0f) + 0.5f;
}""",
    "hard_sigmoid_2": """\
/* 0.2 * a + 1/2, within [0, 1]: that of Keras 2, ONNX */
static inline float PREFIX_hard_sigmoid_2(float a)
{
    return a < -2.5f ? 0.0f : a > 2.5f ? 1.0f : 0.2f * a + 0.5f;
}""",
    "softmax": """\
/* y = exp(y) / sum of exp(y) */
static inline void PREFIX_softmax(float *y, int size)
{
    float largest = y[0], sum = 0.0f;
    for (int j = 1; j < size; j++)
        if (y[j] > largest)
            largest = y[j];
    for (int j = 0; j < size; j++) {
        y[j] = expf(y[j] - largest);
        sum += y[j];
    }
    for (int j = 0; j < size; j++)
        y[j] /= sum;
}""",
}


def used(code, prefix, weights):
    """Return the functions that some code calls.

    Parameters
    ----------
    code : str
    prefix : str
        What their names begin with, before an underscore.
    weights : FloatWeights or Int8Weights
    """
    return [
        text.replace("PREFIX", prefix).replace("PARAMETERS", weights.parameters)
        .replace("FACTOR", weights.factor).replace("ELEMENT", weights.element)
        .replace("ROW", weights.row)
        for name, text in FUNCTIONS.items() if re.search(rf"\b{prefix}_{name}\(", code)
    ]
