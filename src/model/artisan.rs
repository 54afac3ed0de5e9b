//! Command lines that other programs are configured with: what of them may be told. The rest may hold passwords. Pure.

/// The longest name of a command.
const LONGEST: usize = 64;

/// `artisan NAME`, where a line plainly runs that.
pub fn artisan_name(line: &str) -> Option<String> {
    let name = after_artisan(line).next()?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_:".contains(&b);
    let is_name = name.len() <= LONGEST && !name.starts_with('-') && name.bytes().all(plain);
    is_name.then(|| format!("artisan {name}"))
}

/// The words of a line after `artisan`, without quotes.
pub fn after_artisan(line: &str) -> impl Iterator<Item = &str> + Clone {
    line.split_whitespace()
        .map(|word| word.trim_matches(['"', '\'']))
        .skip_while(|word| !(*word == "artisan" || word.ends_with("/artisan")))
        .skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_and_nothing_beside_it() {
        let line = "* * * * * shop TOKEN=s3cret php /srv/shop/artisan app:sync --key=s3cret";
        assert_eq!(artisan_name(line).as_deref(), Some("artisan app:sync"));
        for none in ["mysqldump -ps3cret shop", "php artisan", "php artisan S3cret=", "php artisan --key=s3cret"] {
            assert_eq!(artisan_name(none), None, "{none}");
        }
    }
}
