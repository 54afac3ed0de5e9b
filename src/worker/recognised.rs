//! What a tree is that somebody else made, as its owner sees it. Bounded and typed: an app user's word.

use serde::{Deserialize, Serialize};

/// A tree of another tool's, or of nobody's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recognised {
    /// Who made it.
    pub made_by: Maker,
    /// The name in `releases/` of what `current` leads to; none without a `current`.
    pub live: Option<String>,
    /// What is in `releases/`, by name.
    pub releases: Vec<ForeignRelease>,
    /// It has an `artisan`.
    pub artisan: bool,
    /// Packages that composer.json requires, of those that matter here.
    pub packages: Vec<String>,
    /// `OCTANE_SERVER` in its `.env`.
    pub octane: Option<String>,
    /// `QUEUE_CONNECTION` in its `.env`.
    pub queue: Option<String>,
    /// Where its code comes from.
    pub git: Option<GitFound>,
    /// Links of the live release into `shared/`.
    pub links: Vec<SharedLink>,
    /// Of the paths that were asked about those that are there and no links.
    pub own: Vec<String>,
    /// What git does not know of a checkout and no build makes.
    pub untracked: Vec<String>,
    /// SQLite databases of a checkout that are not empty.
    pub databases: Vec<String>,
}

/// Whose layout a tree has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    /// There is no code.
    #[default]
    Nobody,
    /// `git clone`, and `git pull` ever since.
    Checkout,
    /// Files without a repository, copied there.
    Copied,
    /// Capistrano.
    Capistrano,
    /// Deployer.
    Deployer,
    /// `releases/` and `current` of Envoyer, or of a script.
    Releases,
}

impl Maker {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Checkout => "git",
            Self::Copied => "hand",
            Self::Capistrano => "Capistrano",
            Self::Deployer => "Deployer",
            Self::Releases => "Envoyer, or a script like it",
        }
    }

    /// It has `releases/`.
    pub fn has_releases(self) -> bool {
        matches!(self, Self::Capistrano | Self::Deployer | Self::Releases)
    }
}

/// A directory of `releases/` that is none of deployd's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignRelease {
    /// Its name.
    pub name: String,
    /// The commit in its `REVISION`.
    pub revision: Option<String>,
    /// Modified, in seconds since 1970.
    pub modified: i64,
    /// Its maker went back from it, and has said so: Deployer's `BAD_RELEASE`.
    pub bad: bool,
}

/// A repository and what was taken of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitFound {
    /// Of `origin`, without a password.
    pub url: String,
    /// The branch.
    pub branch: Option<String>,
    /// The commit.
    pub head: Option<String>,
}

/// A link of a release into `shared/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedLink {
    /// In the release.
    pub path: String,
    /// In `shared/`.
    pub from: String,
    /// It leads to a directory.
    pub directory: bool,
}
