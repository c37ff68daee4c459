//! Folders: the cache of compiled plugins, and room on the disks.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Check, Need};
use crate::environment;

/// Less free room than this is told: a checkpoint of a small model has some hundred megabytes.
const LEAST_FREE: u64 = 1 << 30;

pub(super) fn checks() -> Vec<Check> {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let mut checks = vec![cache(environment::plugin_cache().as_deref())];
    checks.extend(room("room in the current folder", &here));
    checks.extend(environment::plugin_cache().and_then(|folder| room("room in the cache", &folder)));
    checks
}

/// The folder of compiled plugins must be this user's alone: what lies there is run.
fn cache(folder: Option<&Path>) -> Check {
    let (need, name) = (Need::Training, "cache of compiled plugins");
    let Some(folder) = folder else {
        let told = "there is none: plugins are compiled anew for every run";
        return Check::missing(need, name, told, "export TUNESMITH_CACHE=\"$PWD/.tunesmith-cache\"");
    };
    let shown = folder.display();
    let metadata = match fs::symlink_metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return to_be_made(folder),
        Err(error) => {
            return Check::missing(need, name, format!("{shown}: {error}"), "export TUNESMITH_CACHE=OTHER_FOLDER");
        }
    };
    if !metadata.is_dir() {
        return Check::missing(need, name, format!("{shown} is no folder"), format!("mv '{shown}' '{shown}.old'"));
    }
    if !is_private(&metadata) {
        let told = format!("{shown} is open to other users, and what lies in it is run");
        return Check::missing(need, name, told, format!("chmod 700 '{shown}'"));
    }
    if !is_writable(folder) {
        return Check::missing(
            need,
            name,
            format!("{shown} cannot be written to"),
            format!("chown \"$USER\" '{shown}'"),
        );
    }
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes: Vec<u64> = files.filter_map(|file| Some(file.metadata().ok()?.len())).collect();
    let megabytes = sizes.iter().sum::<u64>() as f64 / 1e6;
    Check::fine(need, name, format!("{shown}: private, {} files, {megabytes:.1} MB", sizes.len()))
}

fn to_be_made(folder: &Path) -> Check {
    let (need, name) = (Need::Training, "cache of compiled plugins");
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(folder);
    if is_writable(there) {
        return Check::fine(need, name, format!("{} is made by the first run", folder.display()));
    }
    let told = format!("{} cannot be made: {} cannot be written to", folder.display(), there.display());
    Check::missing(need, name, told, "export TUNESMITH_CACHE=OTHER_FOLDER")
}

/// Whether only the owner may look into it.
#[cfg(unix)]
fn is_private(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    let of_others = metadata.permissions().mode() & 0o077;
    of_others == 0
}

/// Whether only the owner may look into it: other systems keep a user's folder so.
#[cfg(not(unix))]
fn is_private(_: &Metadata) -> bool {
    true
}

/// Whether a file can be made in it.
fn is_writable(folder: &Path) -> bool {
    let path = folder.join(format!(".tunesmith-doctor-{}", std::process::id()));
    let made = fs::File::create_new(&path).is_ok();
    made && fs::remove_file(&path).is_ok()
}

/// Free room on the disk of a folder, or of the nearest folder above that is there; none where nobody can say.
fn room(name: &str, folder: &Path) -> Option<Check> {
    let there = folder.ancestors().find(|place| place.exists())?;
    let output = Command::new("df").arg("-Pk").arg(there).output().ok()?;
    let free = free_kilobytes(&String::from_utf8_lossy(&output.stdout))? * 1024;
    let told = format!("{:.1} GB free at {}", free as f64 / 1e9, there.display());
    Some(if free < LEAST_FREE {
        Check::missing(
            Need::Training,
            name,
            told,
            format!("du -xh '{}' | sort -h | tail (shows what takes the room)", there.display()),
        )
    } else {
        Check::fine(Need::Training, name, told)
    })
}

/// The free kilobytes in the last line of `df -Pk`: what stands before the percentage.
fn free_kilobytes(told: &str) -> Option<u64> {
    let words: Vec<&str> = told.lines().last()?.split_whitespace().collect();
    let percentage = words.iter().rposition(|word| word.ends_with('%'))?;
    words.get(percentage.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_room_is_what_stands_before_the_percentage() {
        let told = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sd a1 100 60 40 60% /a b\n";
        assert_eq!(free_kilobytes(told), Some(40));
        assert_eq!((free_kilobytes(""), free_kilobytes("no such file")), (None, None));
    }

    #[test]
    #[cfg(unix)]
    fn an_open_cache_is_told_with_the_command_that_closes_it() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache_of = |mode: u32| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("it is ours");
            cache(Some(folder.path()))
        };
        let open = cache_of(0o755);
        assert!(!open.is_fine && open.mend.is_some_and(|mend| mend.starts_with("chmod 700")));
        assert!(cache_of(0o700).is_fine);
        assert!(cache(Some(&folder.path().join("deep/er"))).found.contains("made by the first run"));
        assert!(!cache(None).is_fine);
    }
}
