//! Operations of the disk that fail, at every moment of a world: errors are typed, nothing that was acknowledged is lost, a log
//! that failed acknowledges nothing more and syncs nothing again, and everything else goes on when the fault is over.

use lineal::Error;
use lineal_wal::sim::{Fault, Frame, OpKind, SimDisk};

use super::tally::{Tally, Violation};
use crate::{
    chooser::chooser,
    damage::caught,
    failing::{check, run},
    model::{self, Step},
};

/// Lets each operation of a workload fail: once, from then on, from then on for its kind only; and each read in between.
pub fn sweep(title: &str, steps: &[Step], stop: &dyn Fn() -> bool, tally: &mut Tally) {
    let whole = SimDisk::new();
    whole.film(None);
    drop(run(&whole, steps, title));
    let frames = whole.take_film();
    for frame in &frames {
        for (what, fault) in faults(frame) {
            if stop() {
                return;
            }
            let context = format!("{title}: operation {} {:?} {}: {what}", frame.op, frame.kind, frame.path);
            let failed = caught(|| one(&fault, steps, frame.op, &context));
            if let Err(why) = failed {
                tally.violations.push(Violation { place: context, title: "failure".into(), why });
            }
            *tally.failures.entry(what.to_owned()).or_default() += 1;
        }
    }
}

fn faults(frame: &Frame) -> Vec<(&'static str, Fault)> {
    let at = Fault::at(frame.op);
    let of = |kind: OpKind| Fault { kind: Some(kind), ..at.clone() };
    let mut faults = vec![
        ("an operation, once", at.clone()),
        ("all operations from one on", at.clone().sticky()),
        ("a read, once", of(OpKind::Read)),
        ("all reads from one on", of(OpKind::Read).sticky()),
    ];
    if frame.kind == OpKind::Sync {
        faults.push(("all syncs from one on", of(OpKind::Sync).sticky()));
        faults.push(("all syncs of one file from one on", of(OpKind::Sync).sticky().path(&frame.path)));
    } else if frame.kind != OpKind::Read {
        faults.push(("all operations of a kind from one on", of(frame.kind).sticky()));
    }
    faults
}

fn one(fault: &Fault, steps: &[Step], op: u64, context: &str) {
    let disk = SimDisk::new();
    disk.fail(fault.clone());
    let run = run(&disk, steps, context);
    for (at, error) in &run.errors {
        let typed = matches!(
            error,
            Error::Poisoned { .. } | Error::Io { .. } | Error::InvalidDirectory { .. } | Error::Closed
        );
        assert!(typed, "{context}: step {at}: {error:?}");
    }
    disk.heal();
    if let (Some(world), false) = (&run.world, run.poisoned()) {
        let found = world.dump().unwrap_or_else(|error| panic!("{context}: reading: {error}"));
        assert_eq!(found, model::visible(&run.acknowledged), "{context}: the open engine");
    }
    check(&disk.kill(), &run, &format!("{context}, killed"));
    for fate in [0, 1, op + 2] {
        check(&disk.crash(&mut chooser(fate)), &run, &format!("{context}, crashed"));
    }
}
