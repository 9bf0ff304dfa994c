//! `lineal proof`: makes proofs that can be checked without the engine, and checks them.

pub(crate) mod file;

use std::io::Read;

use lineal::Root;

use self::file::Claim;
use crate::{
    args,
    exit::{Code, Failure, Outcome},
    json::Line,
    open,
    stdout::Output,
};

/// Most bytes of a file that is checked.
///
/// Source: chosen; a proof over a million commits is a quarter of that.
const FILE_BYTES_MAX: u64 = 1 << 30;

pub(crate) fn run(args: &args::Proof) -> Outcome {
    match (&args.check, &args.dir) {
        (Some(path), _) => check(args, path),
        (None, Some(dir)) => make(args, dir),
        (None, None) => Err(Failure::usage("name a data directory with --dir, or a proof with --check")),
    }
}

fn make(args: &args::Proof, dir: &std::path::Path) -> Outcome {
    let engine =
        open::read_only(&args::Dir { dir: dir.to_path_buf(), salvage: false, place: args.place.clone() })?;
    let mut out = Output::new();
    if let Some(size) = args.since {
        out.line(&file::of_consistency(&engine.prove_since(size)?))?;
        return out.flush();
    }
    let (Some(ns), Some(seq)) = (&args.ns, args.seq) else {
        let root = engine.root()?;
        out.line(&if args.json { file::of_root(&root) } else { plain_root(&root) })?;
        return out.flush();
    };
    let address = args::Address { ns: ns.clone(), object: args.object.clone(), id: args.id };
    let object = open::any_object(&engine, &address)?;
    out.line(&file::of_commit(&object.prove(seq)?))?;
    out.flush()
}

fn plain_root(root: &Root) -> String {
    format!(
        "root   {}\nsize   {} heads\nline   {}\ntime   {} us",
        file::hex(&root.hash),
        root.size,
        root.line,
        root.time
    )
}

fn check(args: &args::Proof, path: &std::path::Path) -> Outcome {
    let unreadable = |error| Failure::io(format_args!("{} cannot be read", path.display()), &error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let claim = file::read(&text)
        .map_err(|reason| Failure::usage(format!("{} is no proof: {reason}", path.display())))?;
    let expected = args.root.as_deref().map(file::hash).transpose().map_err(Failure::usage)?;
    let (holds, root) = match &claim {
        Claim::Commit(proof) => (proof.check(), &proof.root),
        Claim::Consistency(proof) => (proof.check(), &proof.new),
    };
    let refused = |message: String| Failure::Said { code: Code::Corrupt, name: "Proof", message };
    holds.map_err(|error| refused(format!("{}: {error}", path.display())))?;
    if expected.is_some_and(|expected| expected != root.hash) {
        let (found, wanted) = (file::hex(&root.hash), args.root.as_deref().unwrap_or_default());
        return Err(refused(format!("the proof is sound, and leads to root {found}, not to {wanted}")));
    }
    let mut out = Output::new();
    out.line(&if args.json {
        checked_json(&claim, root)
    } else {
        checked_plain(&claim, args.root.is_some())
    })?;
    out.flush()
}

fn checked_json(claim: &Claim, root: &Root) -> String {
    let mut line = Line::new();
    line.flag("ok", true);
    match claim {
        Claim::Commit(proof) => {
            let first = &proof.commits[0];
            line.text("proof", "commit")
                .text("object", &proof.object.to_string())
                .number("seq", first.seq)
                .number("time", first.time.0)
                .text("cause", &first.cause);
        }
        Claim::Consistency(proof) => {
            line.text("proof", "consistency").text("old_root", &file::hex(&proof.old.hash));
        }
    }
    line.text("root", &file::hex(&root.hash)).number("size", root.size);
    line.end()
}

fn checked_plain(claim: &Claim, compared: bool) -> String {
    let (said, root) = match claim {
        Claim::Commit(proof) => {
            let first = &proof.commits[0];
            (
                format!(
                    "commit {} of object {} was made at {} us, cause {:?}",
                    first.seq, proof.object, first.time, first.cause
                ),
                &proof.root,
            )
        }
        Claim::Consistency(proof) => (
            format!(
                "nothing that root {} covers ({} heads) has changed since",
                file::hex(&proof.old.hash),
                proof.old.size
            ),
            &proof.new,
        ),
    };
    let advice = if compared {
        "it is the root you gave"
    } else {
        "compare it with a root that you kept, or give that with --root"
    };
    format!("sound: {said},\n  under root {} of {} heads; {advice}", file::hex(&root.hash), root.size)
}
