//! `lineal dump`: every entry, in an order that depends on nothing but the names.

use lineal::{Engine, Namespace, ObjectId};

use crate::{
    args,
    exit::{Failure, Outcome},
    json::Line,
    open,
    stdout::Output,
};

pub(crate) fn run(args: &args::Dump) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let mut dump = Dump { out: Output::new(), hasher: blake3::Hasher::new(), entries: 0 };
    for namespace in open::namespaces(&engine, args.ns.as_deref())? {
        for object in objects(&engine, &namespace, args)? {
            dump.object(&namespace, &object)?;
        }
    }
    dump.end()
}

struct Listed {
    name: Option<String>,
    id: ObjectId,
}

/// The objects to dump, by name, then those without a name by id.
fn objects(engine: &Engine, namespace: &Namespace, args: &args::Dump) -> Outcome<Vec<Listed>> {
    if args.object.is_some() || args.id.is_some() {
        let address =
            args::Address { ns: namespace.name().to_owned(), object: args.object.clone(), id: args.id };
        let (_, info) = open::existing_object(engine, &address)?;
        return Ok(vec![Listed { name: info.name, id: info.id }]);
    }
    let mut all = Vec::new();
    for info in namespace.objects()? {
        let info = info?;
        all.push(Listed { name: info.name, id: info.id });
    }
    all.sort_unstable_by(|a, b| (a.name.is_none(), &a.name, a.id).cmp(&(b.name.is_none(), &b.name, b.id)));
    Ok(all)
}

struct Dump {
    out: Output,
    hasher: blake3::Hasher,
    entries: u64,
}

impl Dump {
    fn object(&mut self, namespace: &Namespace, listed: &Listed) -> Outcome {
        let object = namespace.by_id(listed.id)?;
        // Line by line out of the view: an object may be larger than memory.
        let printed: Result<Outcome, lineal::Error> = object
            .read(|view| {
                for entry in view.prefix("") {
                    let (key, value) = entry?;
                    let mut line = Line::new();
                    line.text("ns", namespace.name());
                    line.object("obj", listed.name.as_deref(), listed.id);
                    line.bytes("key", &key).bytes("value", &value).number("seq", view.seq());
                    if let Err(failure) = self.line(&line.end()) {
                        return Ok(Err(failure));
                    }
                }
                Ok(Ok(()))
            })
            .wait();
        printed.map_err(Failure::from)?
    }

    fn line(&mut self, line: &str) -> Outcome {
        self.entries += 1;
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        self.out.line(line)
    }

    fn end(mut self) -> Outcome {
        let mut line = Line::new();
        line.text("blake3", self.hasher.finalize().to_hex().as_str()).number("entries", self.entries);
        self.out.line(&line.end())?;
        self.out.flush()
    }
}
