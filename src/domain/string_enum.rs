//! Enums whose members have a fixed name on the wire, in the store and on the command line.

/// Declares an enum with `as_str`, `ALL`, `Display`, `FromStr` (which names the choices when it fails) and `Serialize`.
macro_rules! string_enum {
    ($(#[$doc:meta])* pub enum $name:ident($what:literal) { $($(#[$member_doc:meta])* $member:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$member_doc])* $member,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$member),*];

            /// The name, as the wire, the store and the command line have it.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$member => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let what = format!("{text:?} is no {}", $what);
                    let names: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    $crate::error::Error::new($crate::error::ErrorKind::InvalidInput, what)
                        .with_hint(format!("Choose one of {}.", names.join(", ")))
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use string_enum;
