//! [`by_vectors`]: code for the widest vectors of this machine.

use pulp::NullaryFnOnce;

/// Runs `f`, a closure with `#[inline(always)]`, compiled for the widest vectors that there are.
///
/// `Arch::dispatch` takes closures too, but calls one that borrows (nearly all do) through a function of the compiler's own, which is often
/// left as it is for the oldest machines: 4 numbers at a time in place of 16. Called as `FnMut` the closure has no such function around it.
/// What is called inside must be inlined as well: `for` loops are, the closures of `for_each` and `map` often not.
#[inline(always)]
pub fn by_vectors<R>(f: impl FnMut() -> R) -> R {
    pulp::Arch::new().dispatch(Call(f))
}

struct Call<F>(F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Call<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}
