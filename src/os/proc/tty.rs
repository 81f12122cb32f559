//! Names of terminals.

/// The name of a controlling terminal below `/dev` (`pts/3`, `tty1`), from the number in `/proc/PID/stat`; `None` for 0.
/// A device nobody knows is named `MAJOR:MINOR`.
#[must_use]
pub fn tty_name(number: i32) -> Option<String> {
    // The kernel packs it as new_encode_dev does: minor 0-7, major 8-19, rest of the minor above.
    let bits = number.cast_unsigned();
    let (major, minor) = (bits >> 8 & 0xfff, bits & 0xff | bits >> 12 & 0xf_ff00);
    match (major, minor) {
        (0, 0) => None,
        // 136 to 143 hold 256 terminals each; newer kernels use the first alone, with long minors.
        (136..=143, _) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        (4, 0..=63) => Some(format!("tty{minor}")),
        (4, _) => Some(format!("ttyS{}", minor - 64)),
        (5, 1) => Some("console".into()),
        _ => {
            let link = std::fs::read_link(format!("/sys/dev/char/{major}:{minor}")).ok();
            let name = link.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
            Some(name.unwrap_or_else(|| format!("{major}:{minor}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_names() {
        let cases = [
            (0, None),
            (34816, Some("pts/0")),
            (34819, Some("pts/3")),
            (0x0010_8800 | 0x2c, Some("pts/300")),
            (137 << 8 | 1, Some("pts/257")),
            (1025, Some("tty1")),
            (1088, Some("ttyS0")),
            (1281, Some("console")),
            (0xfff << 8 | 7, Some("4095:7")),
        ];
        for (number, name) in cases {
            assert_eq!(tty_name(number).as_deref(), name, "{number}");
        }
    }
}
