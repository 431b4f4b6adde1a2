//! Completion of a command or a path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What Tab comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Text to insert at the cursor.
    pub(crate) insert: String,
    /// What the word could become, when that is not clear.
    pub(crate) candidates: Vec<String>,
}

impl Completion {
    /// The completion of `word` among whole words that may begin with it.
    pub(crate) fn among(word: &str, all: BTreeSet<String>) -> Self {
        let fits: Vec<String> = all.into_iter().filter(|w| w.starts_with(word)).collect();
        let Some(first) = fits.first() else {
            return Self::default();
        };
        let common = fits.iter().fold(first.as_str(), |common, next| {
            let same = common.char_indices().zip(next.chars()).find(|((_, a), b)| a != b);
            let end = same.map_or(common.len().min(next.len()), |((at, _), _)| at);
            &common[..end]
        });
        Self {
            insert: common[word.len()..].to_owned(),
            candidates: fits,
        }
    }
}

/// Something that completes the text before the cursor.
pub(crate) trait Completer {
    /// The completion of the last word of `before`.
    fn complete(&self, before: &str) -> Completion;
}

/// Completes commands in the place of a command, and paths everywhere.
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    /// The shell's own commands.
    pub(crate) own: &'a [&'a str],
    /// Folders with programs.
    pub(crate) path: Vec<PathBuf>,
    /// Where relative paths begin.
    pub(crate) directory: &'a Path,
}

impl Completer for Commands<'_> {
    fn complete(&self, before: &str) -> Completion {
        let start = word_start(before);
        let word = &before[start..];
        let rest = before[..start].trim_end();
        let is_command = rest.is_empty() || rest.ends_with(['|', ';', '&', '(']);
        if is_command && !word.contains('/') {
            return self.command(word);
        }
        let (folder, prefix) = word
            .rsplit_once('/')
            .map_or(("", word), |(f, p)| (&word[..=f.len()], p));
        let at = self.directory.join(unquote(folder));
        let prefix = unquote(prefix);
        let entries = fs::read_dir(at).into_iter().flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            if name.starts_with('.') && !prefix.starts_with('.') {
                return None;
            }
            // Through a link: a link to a folder is walked into like one.
            let is_folder = fs::metadata(entry.path()).is_ok_and(|m| m.is_dir());
            Some(format!("{}{}", quote(&name), if is_folder { "/" } else { " " }))
        });
        Completion::among(&quote(&prefix), entries.collect())
    }
}

impl Commands<'_> {
    fn command(&self, word: &str) -> Completion {
        let programs = self
            .path
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten();
        let names = programs.filter_map(|entry| entry.file_name().into_string().ok());
        let own = self.own.iter().map(|&name| name.to_owned());
        Completion::among(word, names.chain(own).map(|name| quote(&name) + " ").collect())
    }
}

/// Where the last word begins: after the last blank or operator that no backslash stands before.
fn word_start(before: &str) -> usize {
    let mut start = 0;
    let mut is_quoted = false;
    for (at, c) in before.char_indices() {
        if !is_quoted && (c.is_whitespace() || "|;&(<>=".contains(c)) {
            start = at + c.len_utf8();
        }
        is_quoted = c == '\\' && !is_quoted;
    }
    start
}

fn unquote(word: &str) -> String {
    let mut text = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    text
}

fn quote(name: &str) -> String {
    let is_special = |c: char| c.is_whitespace() || "|;&()<>\\\"'`$*?[]#~=!{}".contains(c);
    name.chars()
        .flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Commands, Completer, Completion};
    use std::path::Path;

    fn words(list: &[&str]) -> std::collections::BTreeSet<String> {
        list.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn the_common_beginning_is_inserted() {
        assert_eq!(Completion::among("a", words(&["abc", "abd", "x"])).insert, "b");
        assert_eq!(Completion::among("a", words(&["abc "])).insert, "bc ");
        assert_eq!(Completion::among("q", words(&["abc"])), Completion::default());
        assert_eq!(Completion::among("", words(&["éa", "èb"])).insert, "");
    }

    #[test]
    fn commands_first_and_paths_after() {
        let dir = std::env::temp_dir().join(format!("sis-complete-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("folder/inner")).unwrap();
        std::fs::write(dir.join("file one"), "").unwrap();
        let own = ["selfcheck"];
        let commands = Commands {
            own: &own,
            path: vec![dir.clone()],
            directory: Path::new(&dir),
        };
        let insert = |before: &str| commands.complete(before).insert;
        assert_eq!(insert("sel"), "fcheck ");
        assert_eq!(insert("ls | sel"), "fcheck ");
        assert_eq!(insert("cat fil"), "e\\ one ");
        assert_eq!(insert("cat file\\ "), "one ");
        assert_eq!(insert("ls fold"), "er/");
        assert_eq!(insert("ls folder/in"), "ner/");
        assert_eq!(insert("cat <fol"), "der/");
        assert_eq!(insert("ls nothing/at/all"), "");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
