//! Sentences that a definition says to the model instead of about itself.
//!
//! A rule is words in order: `a|b` is either word, `<3` lets up to three others stand between. The
//! text is compared without what is hidden in it, letters that look like Latin ones count as
//! those, and so no spelling trick changes what matches. A paraphrase does: this finds what is
//! usual. Pure.

use std::{collections::HashMap, sync::LazyLock};

use super::{Class, hidden::plain};

const INSTRUCTIONS: &[&str] = &[
    "ignore|disregard|forget|override|bypass <3 previous|prior|above|earlier|preceding|foregoing|your|system|original|initial|all|any <2 instructions|instruction|prompt|prompts|directives|guidelines|guardrails|guidance",
    "ignore|disregard|forget|override|bypass <3 previous|prior|earlier|preceding|your <1 rules|messages|context|restrictions|policies|constraints|training|filters|safety",
    "override|overrides|supersede|supersedes|precedence|priority <2 system|previous|prior|user|developer <1 instructions|instruction|prompt|prompts|rules|message|messages",
    "not|never|dont|without|avoid <2 tell|telling|mention|mentioning|inform|informing|notify|notifying|reveal|revealing|disclose|disclosing|alert|alerting|warn|warning <4 user|users|human|operator|anyone|anybody",
    "not|never|dont|avoid <1 mention|mentioning|reveal|disclose <1 this|that|these|it",
    "without <1 user|users <1 knowledge|knowing|noticing|awareness|consent",
    "even|regardless <4 user|users <2 objects|refuses|declines|disagrees|protests|says",
    "conceal|hide <4 from <1 user|users|human|operator|log|logs|audit",
    "secretly|silently|covertly|quietly|discreetly|stealthily <3 send|copy|forward|upload|include|execute|call|append|read|run|post|transmit|insert|invoke|attach|exfiltrate|bcc|pass",
    "exfiltrate|exfiltrating",
    "you are now <2 developer|admin|root|unrestricted|dan|jailbroken|evil|assistant|mode",
    "pretend|act|behave <3 unrestricted|jailbroken|administrator|developer|dan",
    "jailbreak|jailbroken",
    "developer|god|debug|sudo mode <1 enabled|activated|on",
    "reveal|print|repeat|leak|dump|output|disclose <3 system|developer|hidden|initial prompt|prompts|instructions|message",
    "your <1 system|hidden prompt|instructions",
    "send|upload|post|forward|transmit|email|leak|include|pass|put|append|attach|paste|copy|provide <4 entire|full|complete|whole <1 conversation|chat|dialogue|history|context",
    "send|upload|post|forward|transmit|email|leak|include|pass|put|append|attach|paste|copy <4 conversation|chat|message history|transcript",
    "send|upload|post|forward|transmit|email|leak|paste|steal|harvest <4 credentials|passwords|password|secrets|cookies",
    "send|upload|post|forward|transmit|email|leak|paste|steal|harvest <2 api|private|ssh|access key|keys|token|tokens",
    "system|admin|administrator|root|security override|directive|mandate",
    "new|updated|revised|hidden|secret|real instructions",
    "all|every|any <2 emails|email|messages|payments|transfers|recipients|invoices <3 must|should|shall <3 to|through|via|bcc|cc|redirected|forwarded|routed|copied",
    "replace|redirect|substitute|reroute <3 recipient|recipients|payee|iban|wallet|beneficiary",
    "before <1 using|calling|invoking|running|executing <1 any|every|each|all <2 tool|tools",
    "must|shall obey",
    "never refuse",
    "user has already <2 approved|consented|authorized|authorised|agreed|confirmed",
    "not|never|dont <1 log|record|report|audit <1 this|these <1 call|request|action|step|interaction|operation",
    "always|must <2 bcc|cc",
    "dear|attention|note <2 assistant|model|ai|agent|llm|claude|gpt|chatgpt|copilot|gemini",
    "if you are <2 ai|llm|assistant|model|agent",
];

const PLACES: &[&str] = &[
    "ssh id|authorized|known rsa|ed25519|keys|hosts|ecdsa",
    "id rsa|ed25519|ecdsa",
    "mcp json",
    "claude desktop config",
    "etc passwd|shadow|sudoers",
    "aws credentials",
    "git credentials",
    "kube config",
    "wallet dat",
    "contents|content|value|values <2 env file",
    "read|open|load|fetch|get|cat|access <4 ssh|netrc|npmrc|pypirc|pgpass|keychain",
];

/// How a message to the model begins where one is forged.
const MARKERS: &[&str] = &[
    "<system",
    "</system",
    "<important",
    "</important",
    "<instruction",
    "</instruction",
    "<secret",
    "<hidden",
    "<assistant",
    "<|im_start|>",
    "<|im_end|>",
    "<|system|>",
    "<|endoftext|>",
    "[inst]",
    "[/inst]",
    "<<sys>>",
    "[system]",
    "### system",
    "### instruction",
    "\nsystem:",
    "\nassistant:",
    "\nhuman:",
    "<tool_call",
    "<function_call",
    "<tool_result",
];

/// What a page would not show, or a table of contents would not.
const COMMENTS: &[&str] =
    &["<!--", "[//]: #", "[comment]: ", "display:none", "display: none", "visibility:hidden"];

/// What is between two steps of a rule, and the words that each may be.
type Step = (usize, Vec<&'static str>);

struct Rules(HashMap<&'static str, Vec<(Class, Vec<Step>)>>);

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let of = |class, rules: &'static [&'static str]| rules.iter().map(move |rule| (class, *rule));
    Rules::compile(of(Class::Instruction, INSTRUCTIONS).chain(of(Class::Secret, PLACES)))
});

/// The first of each class in a text, with the words.
pub(super) fn phrases(text: &str) -> Vec<(Class, String)> {
    let plain = plain(text).replace(['\'', '\u{2019}'], "");
    let mut found: Vec<(Class, String)> = Vec::new();
    let mut note = |class, what: String| {
        if found.iter().all(|(known, _)| *known != class) {
            found.push((class, what));
        }
    };
    for (class, marks) in [(Class::Instruction, MARKERS), (Class::Comment, COMMENTS)] {
        let begins = |mark: &&&str| plain.starts_with(mark.trim_start()) && mark.starts_with('\n');
        if let Some(mark) = marks.iter().find(|mark| plain.contains(**mark) || begins(mark)) {
            note(class, (*mark).trim().to_owned());
        }
    }
    let words: Vec<&str> = words(&plain).collect();
    for (n, first) in words.iter().enumerate() {
        for (class, steps) in RULES.0.get(first).into_iter().flatten() {
            let rest = words.get(n + 1..).unwrap_or_default();
            if let Some(used) = follows(rest, steps) {
                note(*class, words.get(n..=n + used).unwrap_or_default().join(" "));
            }
        }
    }
    found
}

/// Words of a text: what is between them does not count, nor do apostrophes within.
fn words(plain: &str) -> impl Iterator<Item = &str> {
    plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

impl Rules {
    fn compile(rules: impl Iterator<Item = (Class, &'static str)>) -> Self {
        let mut compiled: HashMap<_, Vec<_>> = HashMap::new();
        for (class, rule) in rules {
            let (mut gap, mut steps) = (0, Vec::<Step>::new());
            for part in rule.split(' ') {
                match part.strip_prefix('<').and_then(|n| n.parse().ok()) {
                    Some(n) => gap = n,
                    None => {
                        steps.push((gap, part.split('|').collect()));
                        gap = 0;
                    }
                }
            }
            let Some(((_, firsts), rest)) = steps.split_first() else { continue };
            for first in firsts {
                compiled.entry(*first).or_default().push((class, rest.to_vec()));
            }
        }
        Self(compiled)
    }
}

/// How many words the steps take, if they follow.
fn follows(words: &[&str], steps: &[Step]) -> Option<usize> {
    let Some(((gap, any), rest)) = steps.split_first() else { return Some(0) };
    let candidates = words.iter().enumerate().take(gap + 1).filter(|(_, word)| any.contains(word));
    candidates.into_iter().find_map(|(n, _)| {
        let after = words.get(n + 1..).unwrap_or_default();
        follows(after, rest).map(|used| used + n + 1)
    })
}
