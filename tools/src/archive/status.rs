//! `lineal archive status`: what is in an archive and who writes it.

use lineal::archive::Standing;

use super::{place, points};
use crate::{
    amounts::{count, size},
    args,
    exit::{Failure, Outcome},
    json::Line,
    stdout::Output,
    when,
};

pub(super) fn run(args: &args::ArchiveStatus) -> Outcome {
    let archive = place::of(&args.from);
    let engines = match args.from.engine {
        Some(engine) => vec![engine],
        None => lineal::archive::engines(&archive)?,
    };
    if engines.is_empty() {
        return Err(Failure::not_found(format!("there is no archive in {}", args.from.url)));
    }
    let mut out = Output::new();
    for (number, engine) in engines.into_iter().enumerate() {
        let standing = lineal::archive::standing(&archive, Some(engine))?;
        if args.json {
            out.line(&json(&standing))?;
        } else {
            out.line(&format!("{}{}", if number > 0 { "\n" } else { "" }, plain(&standing)))?;
        }
    }
    out.flush()
}

fn json(standing: &Standing) -> String {
    let mut line = Line::new();
    points::fields(&standing.points, &mut line);
    match holder(standing) {
        Some(holder) => line.text("holder", holder).number("until_us", standing.until.0),
        None => line.null("holder").null("until_us"),
    };
    line.number("garbage_packs", standing.garbage_packs).number("garbage_bytes", standing.garbage_bytes).end()
}

fn plain(standing: &Standing) -> String {
    let writer = match (holder(standing), &standing.holder) {
        (Some(holder), _) => {
            format!("{holder}, epoch {}, until {}", standing.points.epoch, when::show(standing.until))
        }
        (None, Some(last)) => format!("nobody; the last was {last}, epoch {}", standing.points.epoch),
        (None, None) => "nobody".to_owned(),
    };
    format!(
        "{}\nwriter   {writer}\ngarbage  {} packs ({})",
        points::facts(&standing.points),
        count(standing.garbage_packs),
        size(standing.garbage_bytes)
    )
}

/// Who has the lease: not who gave it back.
fn holder(standing: &Standing) -> Option<&str> {
    standing.holder.as_deref().filter(|_| standing.until.0 > 0)
}
