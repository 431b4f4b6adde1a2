//! What apt's source lists say, as far as is needed to add a suite of the same archive. Pure.

/// One archive that packages come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// Where; several are mirrors of one another.
    pub(crate) uris: Vec<String>,
    pub(crate) suites: Vec<String>,
    pub(crate) components: Vec<String>,
    /// Path of a key ring, or a key itself over several lines; must be the same for every suite of one archive.
    pub(crate) signed_by: Option<String>,
}

impl Source {
    /// A deb822 stanza (sources.list(5)) for another suite of this archive.
    pub(crate) fn for_suite(&self, suite: &str) -> String {
        self.stanza(suite, "main")
    }

    /// A deb822 stanza for a component of a suite of this archive.
    pub(crate) fn stanza(&self, suite: &str, component: &str) -> String {
        let signed_by = self
            .signed_by
            .as_ref()
            .map_or_else(String::new, |key| format!("Signed-By: {key}\n"));
        format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: {component}\n{signed_by}",
            self.uris.join(" ")
        )
    }
}

/// The sources of a deb822 file (`*.sources`).
pub(crate) fn parse_deb822(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':')?;
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| {
        fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let words = |name: &str| -> Vec<String> {
        field(name)
            .map(|value| value.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let is_disabled = field("enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    if is_disabled || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    let source = Source {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by"),
    };
    (!source.uris.is_empty() && !source.suites.is_empty()).then_some(source)
}

/// The sources of a one-line file (`*.list`).
pub(crate) fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| one_line(line.split('#').next()?.trim()))
        .collect()
}

fn one_line(line: &str) -> Option<Source> {
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (uri, suite) = (words.next()?, words.next()?);
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .map(str::to_owned);
    Some(Source {
        uris: vec![uri],
        suites: vec![suite],
        components: words.collect(),
        signed_by,
    })
}

/// The sources of this machine.
pub(crate) fn sources() -> Vec<Source> {
    let parts = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut files: Vec<_> = parts.map(|entry| entry.path()).collect();
    files.push("/etc/apt/sources.list".into());
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(parse_deb822(&text)),
            Some("list") => sources.extend(parse_one_line(&text)),
            _ => {}
        }
    }
    sources
}

/// The archive that has the main component of this release itself.
pub(crate) fn of_release<'a>(sources: &'a [Source], codename: &str) -> Option<&'a Source> {
    sources.iter().find(|source| {
        source.suites.iter().any(|suite| suite == codename) && source.components.iter().any(|name| name == "main")
    })
}

/// Whether a suite is among the sources.
pub(crate) fn has_suite(sources: &[Source], suite: &str) -> bool {
    sources
        .iter()
        .any(|source| source.suites.iter().any(|known| known == suite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb822_stanzas_are_read_and_extended_with_their_key() {
        let text = "# mirror\nTypes: deb\nURIs: http://a.example/debian\nSuites: x x-updates\nComponents: main\n\
            Signed-By: /usr/share/keyrings/k.gpg\n\nTypes: deb-src\nURIs: http://b.example\nSuites: x\n\n\
            Types: deb\nEnabled: no\nURIs: http://c.example\nSuites: x\nComponents: main\n";
        let sources = parse_deb822(text);
        assert_eq!(sources.len(), 1);
        let source = of_release(&sources, "x").expect("is there");
        assert_eq!(
            source.for_suite("x-backports"),
            "Types: deb\nURIs: http://a.example/debian\nSuites: x-backports\nComponents: main\n\
             Signed-By: /usr/share/keyrings/k.gpg\n"
        );
        assert!(
            source
                .stanza("x", "non-free")
                .contains("Suites: x\nComponents: non-free\nSigned-By: ")
        );
        assert!(has_suite(&sources, "x-updates") && !has_suite(&sources, "x-backports"));
    }

    #[test]
    fn a_key_over_several_lines_stays_whole() {
        let text =
            "Types: deb\nURIs: http://a.example\nSuites: x\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n";
        let sources = parse_deb822(text);
        assert_eq!(sources[0].signed_by.as_deref(), Some("\n -----BEGIN\n .\n abc"));
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian x main contrib # why\n\
            deb-src http://a.example/debian x main\n#deb http://b.example y main\ndeb http://c.example z main\n";
        let sources = parse_one_line(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(sources[0].components, ["main", "contrib"]);
        assert_eq!(
            of_release(&sources, "z").map(|source| source.signed_by.clone()),
            Some(None)
        );
    }
}
