//! Signals that must not end the process.

use crate::{
    exit::{Failure, Outcome},
    sync::{Arc, AtomicBool},
};

/// Makes a file over the size limit an error of the write (`EFBIG`) instead of a deadly signal. The runtime already
/// ignores SIGPIPE, so that a closed pipe is an error of the write too.
pub(crate) fn tolerate() -> Outcome {
    let nobody_looks = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, nobody_looks)
        .map(drop)
        .map_err(|error| Failure::other(format!("the handler of SIGXFSZ could not be set: {error}")))
}
