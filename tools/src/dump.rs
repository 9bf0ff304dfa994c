//! `lineal dump`: every entry, in an order that depends on nothing but the names.

use lineal::{Engine, Error, Namespace, ObjectId, View};

use crate::{args, bytes, exit::Outcome, json::Line, open, stdout::Output};

pub(crate) fn run(args: &args::Dump) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let mut dump = Dump::new();
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

/// A dump in the making.
pub(crate) struct Dump {
    out: Output,
    hasher: blake3::Hasher,
    entries: u64,
}

impl Dump {
    pub(crate) fn new() -> Dump {
        Dump { out: Output::new(), hasher: blake3::Hasher::new(), entries: 0 }
    }

    fn object(&mut self, namespace: &Namespace, listed: &Listed) -> Outcome {
        let object = namespace.by_id(listed.id)?;
        let name = listed.name.as_deref();
        object.read(|view| self.view(namespace.name(), name, listed.id, view)).wait()?
    }

    /// Prints what one object holds, line by line: it may be larger than memory.
    pub(crate) fn view(
        &mut self,
        namespace: &str,
        name: Option<&str>,
        id: ObjectId,
        view: &View<'_>,
    ) -> Result<Outcome, Error> {
        let head = || {
            let mut line = Line::new();
            line.text("ns", namespace).object("obj", name, id);
            line
        };
        for entry in view.prefix("") {
            let (key, value) = entry?;
            let mut line = head();
            line.bytes("key", &key).bytes("value", &value).number("seq", view.seq());
            if let Err(failure) = self.line(&line.end()) {
                return Ok(Err(failure));
            }
        }
        for page in view.database_pages() {
            let (number, page) = page?;
            let mut line = head();
            line.number("page", number.into()).text("b64", &bytes::b64(&page)).number("seq", view.seq());
            if let Err(failure) = self.line(&line.end()) {
                return Ok(Err(failure));
            }
        }
        Ok(Ok(()))
    }

    fn line(&mut self, line: &str) -> Outcome {
        self.entries += 1;
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        self.out.line(line)
    }

    /// Prints the hash of all lines.
    pub(crate) fn end(mut self) -> Outcome {
        let mut line = Line::new();
        line.text("blake3", self.hasher.finalize().to_hex().as_str()).number("entries", self.entries);
        self.out.line(&line.end())?;
        self.out.flush()
    }
}
