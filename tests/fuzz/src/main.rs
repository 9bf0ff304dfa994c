//! Under `--cfg fuzzing`: libFuzzer around the target that `LINEAL_FUZZ_TARGET` names. Else the command that builds that and
//! runs it.
#![cfg_attr(fuzzing, no_main)]

#[cfg(not(fuzzing))]
mod command;

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(fuzzing)]
mod fuzzer {
    use std::{
        env, panic,
        sync::{Mutex, OnceLock, PoisonError},
    };

    use lineal_fuzz::Target;

    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

    fn target() -> &'static Target {
        TARGET.get_or_init(|| {
            let name = env::var("LINEAL_FUZZ_TARGET").unwrap_or_default();
            // libFuzzer's own hook aborts at every panic, but the engine catches what redb panics with.
            panic::set_hook(Box::new(|panic| {
                *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
            }));
            let target = lineal_fuzz::target(&name).unwrap_or_else(|| {
                eprintln!("LINEAL_FUZZ_TARGET names no target: {name:?}");
                std::process::exit(2)
            });
            if let Some(folder) = env::var_os("LINEAL_FUZZ_SEEDS") {
                for (number, seed) in (target.seeds)().iter().enumerate() {
                    let file = std::path::Path::new(&folder).join(format!("seed-{number}"));
                    std::fs::write(file, seed).expect("the folder of the seeds can be written");
                }
                std::process::exit(0);
            }
            target
        })
    }

    pub(crate) fn run(bytes: &[u8]) {
        let target = target();
        if panic::catch_unwind(|| (target.run)(bytes)).is_err() {
            eprintln!("{}", LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner));
            std::process::abort();
        }
    }
}

#[cfg(fuzzing)]
#[allow(unsafe_code, reason = "libFuzzer calls a function of this name")]
mod entry {
    libfuzzer_sys::fuzz_target!(|bytes: &[u8]| crate::fuzzer::run(bytes));
}
