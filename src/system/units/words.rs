//! Words of a command that a transient unit's file does not keep, and others that stand for them.

/// What PID 1 writes into a transient unit's file so that it reads something else there: systemd 252 puts a backslash
/// before both, later ones double the `$`. A reload between a step's being asked for and its start would run that.
/// `=` begins what stands for them.
const FOREIGN: [(char, &str); 3] = [('=', "=3D"), ('$', "=24"), (';', "=3B")];

/// A command in words that a unit's file keeps; none when its own are kept.
pub fn kept_words(command: &[String]) -> Option<Vec<String>> {
    let foreign = command.iter().any(|word| word.contains(['$', ';']));
    let keep = |word: &String| FOREIGN.iter().fold(word.clone(), |word, (own, kept)| word.replace(*own, kept));
    foreign.then(|| command.iter().map(keep).collect())
}

/// The words that [`kept_words`] was given.
pub fn own_words(command: &[String]) -> Vec<String> {
    let own = |word: &String| {
        FOREIGN.iter().rev().fold(word.clone(), |word, (own, kept)| word.replace(kept, own.encode_utf8(&mut [0; 4])))
    };
    command.iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_back_as_it_was_and_a_units_file_sees_nothing_that_it_would_change() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(kept_words(&words(&["php", "artisan", "--a=b", "it's \"so\""])), None);
        for command in [
            words(&["sh", "-c", "a; b $HOME =24 =3D $$ ;"]),
            words(&["php", "-r", "$x = '=3B'; echo \"$x=\";", "", "=", "=3D24"]),
        ] {
            let kept = kept_words(&command).unwrap();
            assert!(!kept.iter().any(|word| word.contains(['$', ';'])), "{kept:?}");
            assert_eq!(own_words(&kept), command);
        }
    }
}
