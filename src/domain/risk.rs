//! How risky a call is: what a tool is known to do, the points of one call, and why it has them.
//!
//! `Labels` say what calling a tool brings in and what it brings about. A `Standing` is the sum
//! of a call's reasons, each with its points; there are no other points. Nothing here decides:
//! thresholds and weights are the operator's.

use std::fmt;

use smallvec::SmallVec;

/// What calling a tool means: what comes out of it, and what it has done then.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Labels(u16);

impl Labels {
    /// No label: it changes nothing, and what it answers is as good as our own.
    pub const NONE: Self = Self(0);
    /// Others than its operator can write into what it answers.
    pub const UNTRUSTED: Self = Self(1);
    /// It answers with what is not everybody's business.
    pub const PRIVATE: Self = Self(1 << 1);
    /// What it is given leaves the house.
    pub const SINK: Self = Self(1 << 2);
    /// What it does cannot be taken back.
    pub const DESTRUCTIVE: Self = Self(1 << 3);
    /// It changes who may do what, or how something is run.
    pub const ADMIN: Self = Self(1 << 4);
    /// It changes something that can be changed back.
    pub const WRITE: Self = Self(1 << 5);
    /// It answers with keys, passwords or codes.
    pub const CREDENTIALS: Self = Self(1 << 6 | Self::PRIVATE.0);
    /// It runs commands or programs.
    pub const EXEC: Self = Self(1 << 7 | Self::ADMIN.0);
    /// It gives somebody access.
    pub const GRANT: Self = Self(1 << 8 | Self::ADMIN.0);
    /// It changes what decides how others behave.
    pub const CONFIG: Self = Self(1 << 9 | Self::WRITE.0);
    /// It says what there is to be read.
    pub const LIST: Self = Self(1 << 10);
    /// It may change something; nobody said what.
    pub const UNKNOWN: Self = Self(1 << 11);
    /// What its server says of it is odd.
    pub const ODD: Self = Self(1 << 12);
    /// What is assumed of a tool of which nobody said anything.
    pub const UNLABELLED: Self = Self(Self::UNTRUSTED.0 | Self::UNKNOWN.0);

    /// Whatever changes something.
    const EFFECTS: u16 = Self::SINK.0
        | Self::DESTRUCTIVE.0
        | Self::ADMIN.0
        | Self::WRITE.0
        | Self::EXEC.0
        | Self::GRANT.0
        | Self::CONFIG.0
        | Self::UNKNOWN.0;

    /// The words in which an operator writes them.
    pub const WORDS: [(&'static str, Self); 11] = [
        ("untrusted", Self::UNTRUSTED),
        ("private", Self::PRIVATE),
        ("credentials", Self::CREDENTIALS),
        ("list", Self::LIST),
        ("write", Self::WRITE),
        ("config", Self::CONFIG),
        ("sink", Self::SINK),
        ("destructive", Self::DESTRUCTIVE),
        ("admin", Self::ADMIN),
        ("exec", Self::EXEC),
        ("grant", Self::GRANT),
    ];

    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is among them.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that say what it brings about.
    #[must_use]
    pub fn effects(self) -> Self {
        Self(self.0 & Self::EFFECTS)
    }

    /// Those of them that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::WORDS.iter().filter(|(_, label)| self.has(*label)).map(|(word, _)| word);
        let unknown = self.has(Self::UNKNOWN).then_some(&"unknown");
        let odd = self.has(Self::ODD).then_some(&"odd");
        f.debug_set().entries(known.chain(unknown).chain(odd)).finish()
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $word:literal),* $(,)?) => {
        /// Why a call has points. The word is its key in `risk.toml` and its name in the audit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $reason),*
        }

        impl Reason {
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$reason),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $word),*
                }
            }
        }
    };
}

reasons! {
    /// What the tool brings about, by its labels.
    Sink = "sink",
    Destructive = "destructive",
    Admin = "admin",
    Write = "write",
    Unknown = "unknown",
    /// The scan found something in its definition.
    OddDefinition = "odd_definition",
    /// Something that others can write was read in this conversation.
    Tainted = "tainted",
    /// … or in another one of the same principal.
    TaintedElsewhere = "tainted_elsewhere",
    /// Something private was read, and this leaves the house.
    PrivateContext = "private_context",
    /// Where it goes was read in something that others can write.
    Destination = "destination",
    /// Another argument was.
    Argument = "argument",
    /// What leaves the house was read in something private.
    Copied = "copied",
    /// Too much to be looked through: it counts as found.
    Unread = "unread",
    /// The first time that this conversation does something of this sort.
    FirstUse = "first_use",
    CredentialsThenSink = "credentials_then_sink",
    ConfigThenExec = "config_then_exec",
    UntrustedThenExec = "untrusted_then_exec",
    ListReadSink = "list_read_sink",
    GrantThenUse = "grant_then_use",
    /// Characters in an argument that nobody sees.
    HiddenUnicode = "hidden_unicode",
    /// What looks like a key leaves the house.
    Secret = "secret",
    /// Far more calls than this principal usually makes.
    Rate = "rate",
    /// Calls of this principal that were refused a moment ago.
    Denials = "denials",
    /// What earlier calls have left on the account.
    Account = "account",
}

/// How one call stands: its points, and what each of them is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// At most 100.
    pub score: u8,
    /// Whether something untrusted was read before, in this conversation or another.
    pub tainted: bool,
    /// In the order of `Reason`; none has no points.
    pub reasons: SmallVec<[(Reason, u8); 8]>,
}

impl Standing {
    pub fn points(&self, reason: Reason) -> u8 {
        self.reasons.iter().find(|(found, _)| *found == reason).map_or(0, |(_, points)| *points)
    }
}

/// As the audit has it: `sink:20,tainted:15`. In pieces: a format string takes several times as
/// long, and every call has one.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reasons.iter().enumerate().try_for_each(|(n, (reason, points))| {
            f.write_str(if n == 0 { "" } else { "," })?;
            f.write_str(reason.as_str())?;
            f.write_str(":")?;
            f.write_str(itoa::Buffer::new().format(*points))
        })
    }
}
