// The nonlinearities; activation.rs is the twin. ACTIVATION says which one.

fn activate1(x: f32) -> f32 {
    switch ACTIVATION {
        case SILU: { return x / (1.0 + exp(-x)); }
        case MISH: {
            // Above 20 the factor is 1, and e² would soon overflow.
            let e = exp(select(x, 20.0, x > 20.0));
            let n = e * e + 2.0 * e;
            return x * (n / (n + 2.0));
        }
        case GELU: {
            // Abramowitz and Stegun's 7.1.26.
            let z = abs(x) * 0.70710678;
            let t = 1.0 / (1.0 + 0.3275911 * z);
            let p = ((((1.0614054 * t - 1.453152) * t + 1.4214138) * t - 0.28449674) * t + 0.2548296) * t;
            let tail = 0.5 * p * exp(-z * z);
            return x * select(1.0 - tail, tail, x < 0.0);
        }
        case RELU: { return select(x, 0.0, x < 0.0); }
        case GELU_TANH: { return x / (1.0 + exp(x * (x * x * -0.07135482 - 1.5957692))); } // text
        case QUICK_GELU: { return x / (1.0 + exp(-1.702 * x)); } // text
        case TANH: { return sign(x) * (2.0 / (1.0 + exp(-2.0 * abs(x))) - 1.0); } // text
        default: { return x; }
    }
}

fn activate4(x: vec4f) -> vec4f {
    if ACTIVATION == SILU { return x / (1.0 + exp(-x)); }
    if ACTIVATION == NO_ACTIVATION { return x; }
    return vec4f(activate1(x.x), activate1(x.y), activate1(x.z), activate1(x.w));
}
