//! `lineal show`: one commit and what it wrote; `lineal bookmark`: its bookmark.

use crate::{
    args, commits,
    exit::{Failure, Outcome},
    json::Line,
    open,
    stdout::Output,
    when::{self, When},
};

pub(crate) fn run(args: &args::Show) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    let mark = args.at.bookmark(&object)?;
    // Refuses a bookmark of another object or commit.
    object.at(&mark)?;
    let info = object.history(mark.seq()..=mark.seq())?.next().transpose()?;
    let info = info.ok_or_else(|| Failure::not_found(format!("there is no commit {}", mark.seq())))?;
    let changes = object.changes(mark.seq())?;
    let mut out = Output::new();
    if args.json {
        let mut line = Line::new();
        commits::fields(&info, &mut line);
        line.text("bookmark", &mark.to_string());
        let line = line.json("wrote", &commits::changes(&changes)).end();
        out.line(&line)?;
    } else {
        out.line(&commits::plain(&info))?;
        out.line(&format!("bookmark {mark}\nhash {}", commits::hex(&info.hash)))?;
        for change in &changes {
            out.line(&commits::change(change))?;
        }
    }
    out.flush()
}

pub(crate) fn bookmark(args: &args::Bookmark) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    let mark = match &args.at {
        Some(at) => at.bookmark(&object)?,
        None => object.bookmark().wait()?,
    };
    if matches!(args.at, Some(When::Mark(_))) {
        object.at(&mark)?;
    }
    let mut out = Output::new();
    if args.json {
        out.line(&json(&mark))?;
    } else {
        out.line(&mark.to_string())?;
    }
    out.flush()
}

/// A bookmark as JSON.
pub(crate) fn json(mark: &lineal::Bookmark) -> String {
    let mut line = Line::new();
    fields(mark, &mut line);
    line.end()
}

pub(crate) fn fields(mark: &lineal::Bookmark, line: &mut Line) {
    line.text("bookmark", &mark.to_string()).number("seq", mark.seq());
    line.number("time_us", mark.time().0).text("time", &when::show(mark.time()));
}
