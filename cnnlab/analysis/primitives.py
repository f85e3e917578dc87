"""JAX's primitives by what they do, for those that walk through a traced program."""

CALLS = {
    "jit": "jaxpr",
    "remat2": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
"""Those that run a jaxpr on their operands as they are, and the parameter that holds it."""

_NARY = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type
    copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite
    le lgamma log log1p logistic lt max min mul name ne neg nextafter not or pow reduce_precision
    rem round rsqrt select_n sign sin sinh sqrt square sub tan tanh xor
"""
ELEMENTWISE = frozenset(_NARY.split())
"""Those whose number at a place is made of their operands' at that place, or of a scalar."""
