//! `lineal get`: one value.

use crate::{
    args,
    exit::{Failure, Outcome},
    json::Line,
    open,
    stdout::Output,
};

pub(crate) fn run(args: &args::Get) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let (object, info) = open::existing_object(&engine, &args.address)?;
    let value = object.read(|view| view.get(&args.key)).wait()?;
    let value = value.ok_or_else(|| {
        Failure::not_found(format!("object {} has no key {:?}", args.address.shown(), args.key))
    })?;
    let mut out = Output::new();
    if args.json {
        let mut line = Line::new();
        line.bytes("value", &value).number("seq", info.seq).number("lsn", info.lsn);
        out.line(&line.end())?;
    } else {
        out.bytes(&value)?;
    }
    out.flush()
}
