//! A stack of a known size for the recursion of the parser and of the evaluation.
//!
//! Both recurse some hundred frames deep at the limits of an expression, which is more than the 2 MiB that threads of an async
//! runtime have where the code is not optimised. The size is address space: pages are used as far as the recursion goes.

use super::ExprError;

/// Four times of what the deepest and widest expression was seen to take in an unoptimised build.
const BYTES: usize = 32 << 20;

/// Runs `work` on a thread of its own and waits for it. A panic of the expression library is an error like any other.
pub(super) fn deep<T: Send>(work: impl FnOnce() -> Result<T, ExprError> + Send) -> Result<T, ExprError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("expression".to_owned())
            .stack_size(BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| ExprError::Evaluation(format!("no thread to evaluate on: {error}")))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(ExprError::Evaluation("the expression cannot be evaluated".to_owned())))
    })
}
