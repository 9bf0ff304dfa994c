//! Signals that must not end the process, and those that end it tidily.

use std::{io::Read, os::unix::net::UnixStream, process};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag, low_level,
};

use crate::{
    exit::{Code, Failure, Outcome},
    sync::{Arc, AtomicBool, thread},
};

/// Makes a file over the size limit an error of the write (`EFBIG`) instead of a deadly signal. The runtime already
/// ignores SIGPIPE, so that a closed pipe is an error of the write too.
pub(crate) fn tolerate() -> Outcome {
    let nobody_looks = Arc::new(AtomicBool::new(false));
    flag::register(SIGXFSZ, nobody_looks)
        .map(drop)
        .map_err(|error| Failure::io("handling SIGXFSZ failed", &error))
}

/// When the process is told to end, tidies up first.
pub(crate) fn tidy_up_at_the_end(tidy_up: impl FnOnce() + Send + 'static) -> Outcome {
    let watch = || {
        let (mut told, tell) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            low_level::pipe::register(signal, tell.try_clone()?)?;
        }
        thread::Builder::new().name("lineal-signals".into()).spawn(move || {
            // Ends with a byte from the handler; an error means that none can come.
            if told.read_exact(&mut [0]).is_ok() {
                tidy_up();
                process::exit(Code::Other as i32);
            }
        })
    };
    watch().map(drop).map_err(|error| Failure::io("handling signals failed", &error))
}
