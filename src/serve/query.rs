//! The query part of a URL.

/// The value of a parameter, percent-decoded; of several the last, as in PhoenixKit. `None` if it is not there;
/// what does not decode to text is empty.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs.filter(|(key, _)| decode(key).as_deref() == Some(name)).map(|(_, value)| value);
    values.next_back().map(|value| decode(value).unwrap_or_default())
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        let get = |query: &str, name: &str| parameter(Some(query), name);
        assert_eq!(get("code=A7X9K2M4&vsn=2.0.0", "code").as_deref(), Some("A7X9K2M4"));
        assert_eq!(get("vsn=2.0.0&co%64e=%41+b", "code").as_deref(), Some("A b"));
        assert_eq!(get("code=a&code=b", "code").as_deref(), Some("b"));
        assert_eq!(get("code", "code").as_deref(), Some(""));
        assert_eq!(get("code=%zz", "code").as_deref(), Some(""));
        assert_eq!(get("code=%ff&", "code").as_deref(), Some(""));
        assert_eq!(get("code=%4", "code").as_deref(), Some(""));
        assert_eq!(get("code[]=a&xcode=b", "code"), None);
        assert_eq!(parameter(None, "code"), None);
    }
}
