//! The few lines of a Cargo.toml that the rules need: the package's name and what it depends on. No TOML parser: this
//! program builds in seconds.

use super::tree::File;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Empty for a workspace without a package.
    pub(super) package: String,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    /// Of the package, if the manifest renames it.
    pub(super) name: String,
    pub(super) is_dev: bool,
    pub(super) line: usize,
    /// The rest of the line.
    pub(super) details: String,
}

/// What a section's lines mean.
enum Section {
    Package,
    Dependencies {
        is_dev: bool,
    },
    /// `[dependencies.name]`: the lines below are its details.
    One,
    Other,
}

impl Manifest {
    pub(super) fn read(file: &File) -> Manifest {
        let mut manifest = Manifest { package: String::new(), dependencies: Vec::new() };
        let mut section = Section::Other;
        for (number, line) in file.text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
            if let Some(title) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
                section = manifest.open(title, number);
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
            let (key, value) = (key.trim(), value.trim());
            match section {
                Section::Package if key == "name" => manifest.package = value.trim_matches('"').to_owned(),
                Section::Dependencies { is_dev } => manifest.add(key, value, is_dev, number),
                Section::One => manifest.detail(key, value),
                Section::Package | Section::Other => {}
            }
        }
        manifest
    }

    fn open(&mut self, title: &str, line: usize) -> Section {
        if title == "package" {
            return Section::Package;
        }
        let words: Vec<&str> = title.split('.').collect();
        // Workspace dependencies only say versions; target-specific ones count like any other.
        let kind = words.iter().position(|word| word.ends_with("dependencies"));
        let Some(kind) = kind.filter(|_| words[0] != "workspace") else { return Section::Other };
        let is_dev = words[kind] == "dev-dependencies";
        match words.get(kind + 1) {
            Some(name) => {
                self.add(name, "", is_dev, line);
                Section::One
            }
            None => Section::Dependencies { is_dev },
        }
    }

    /// `name = …` or `name.workspace = true`.
    fn add(&mut self, key: &str, value: &str, is_dev: bool, line: usize) {
        let key = key.split('.').next().unwrap_or(key).trim_matches('"');
        let name = renamed(value).unwrap_or(key).to_owned();
        self.dependencies.push(Dependency { name, is_dev, line, details: value.to_owned() });
    }

    /// A line below `[dependencies.name]`.
    fn detail(&mut self, key: &str, value: &str) {
        let Some(last) = self.dependencies.last_mut() else { return };
        last.details.push_str(&format!("{key} = {value} "));
        last.name = renamed(&last.details).unwrap_or(&last.name).to_owned();
    }
}

/// The package behind another name: `package = "…"`.
fn renamed(details: &str) -> Option<&str> {
    let (_, rest) = details.split_once("package")?;
    rest.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_dependency_is_seen() {
        let text = "[workspace.dependencies]\nunused = \"1\"\n[package]\nname = \"me\"\n[dependencies]\na.workspace = true\n\
                    b = { version = \"1\" }\n# c = \"1\"\nd = { package = \"real-d\", version = \"1\" }\n[dev-dependencies]\ne = \"1\"\n\
                    [dependencies.f]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\ng = \"1\"\n[features]\nh = []\n";
        let manifest = Manifest::read(&File { path: "Cargo.toml".to_owned(), text: text.to_owned() });
        assert_eq!(manifest.package, "me");
        let seen: Vec<(&str, bool)> =
            manifest.dependencies.iter().map(|found| (found.name.as_str(), found.is_dev)).collect();
        assert_eq!(seen, [("a", false), ("b", false), ("real-d", false), ("e", true), ("f", false), ("g", false)]);
    }
}
