//! How a server is reached, as others write it: the program or the address, and what each is given.

use super::{
    super::{Fate, Remark, shown, tree::Node},
    Reading,
    draft::seconds,
    value::{Known, Rewritten, Spot, at_home, is_secret, looks_secret, rewrite, variable_for},
};
use crate::{
    config::{
        report::sounds_secret, secret::has_reference, secret::is_variable_name,
        server::is_header_of_ours,
    },
    domain::limits::{STARTUP_TIMEOUT_RANGE_S, TOOL_TIMEOUT_RANGE_S},
};

impl Reading<'_> {
    /// The program alone, with its arguments in one text, or as a list.
    pub(super) fn command(&mut self, key: &str, node: &Node) {
        let mut words = match node {
            Node::Text(text) => vec![text.clone()],
            Node::List(_) => self.texts(key, node),
            Node::Nothing | Node::Flag(_) | Node::Number(_) | Node::Table(_) => {
                self.drop(key, "it is no command");
                return;
            }
        };
        if let [whole] = words.as_slice()
            && !whole.starts_with(['/', '.', '~', '"', '\''])
            && whole.contains(' ')
        {
            words = whole.split_whitespace().map(str::to_owned).collect();
            self.change(key, "no shell reads it: the words after the first are in args now");
        }
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        if program.starts_with('@') {
            self.drop(key, format!("`{}` means something else here", shown(&program)));
            return;
        }
        let program = self.plain(key, &program);
        self.draft.command = Some(self.path(key, program));
        let first = self.arguments(key, words.collect());
        self.draft.args.splice(0..0, first);
    }

    pub(super) fn args(&mut self, key: &str, node: &Node) {
        let args = self.texts(key, node);
        let args = self.arguments(key, args);
        self.draft.args.extend(args);
    }

    /// A secret among arguments is seen by everybody on the machine, so it is not taken over.
    fn arguments(&mut self, key: &str, args: Vec<String>) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let mut after_flag = String::new();
        for arg in args {
            let text = self.plain(key, &arg);
            let (flag, value) = match text.split_once('=') {
                Some((flag, value)) if flag.starts_with('-') => (flag.to_owned(), value),
                _ => (std::mem::take(&mut after_flag), text.as_str()),
            };
            let is_value = !value.starts_with('-');
            if is_value && (looks_secret(value) || is_secret(&flag, value) && flag.starts_with('-'))
            {
                let kept = text.strip_suffix(value).unwrap_or_default();
                out.push(format!("{kept}<SECRET>"));
                self.has_holes = true;
                let why = "a secret is not taken over into arguments: can the program read it \
                           from a variable? then write it in env as ${env:NAME}";
                self.change(key, why);
                continue;
            }
            after_flag = if text.starts_with('-') { text.clone() } else { String::new() };
            out.push(text);
        }
        out
    }

    pub(super) fn cwd(&mut self, key: &str, node: &Node) {
        let Some(text) = self.text(key, node) else { return };
        let text = self.plain(key, &text);
        self.draft.cwd = Some(self.path(key, text));
    }

    pub(super) fn env(&mut self, key: &str, node: &Node) {
        for (name, value) in node.entries() {
            let place = format!("{key}.{}", shown(name));
            let Some(value) = value.scalar() else {
                self.drop(&place, "it is no text");
                continue;
            };
            if !is_variable_name(name) {
                self.drop(&place, "a variable has letters, digits and _");
                continue;
            }
            let value = self.resolved(&place, &value);
            let value = if is_secret(name, &value) {
                self.secret(&place, name);
                format!("${{env:{name}}}")
            } else {
                value
            };
            self.draft.put_env(name, value);
        }
        if !node.is_table() && *node != Node::Nothing {
            self.drop(key, "it is no table");
        }
    }

    /// Variables that the program is to have as the host had them.
    pub(super) fn passed_on(&mut self, key: &str, node: &Node) {
        for item in node.items() {
            let name = item.text().or_else(|| item.get("name").and_then(Node::text));
            match name.filter(|name| is_variable_name(name)) {
                Some(name) => {
                    self.draft.put_env(name, format!("${{env:{name}}}"));
                    let told = format!("`{name}` is in env now: set {name} for the gateway");
                    self.change(key, told);
                }
                None => self.drop(key, "an item that names no variable"),
            }
        }
    }

    pub(super) fn url(&mut self, key: &str, node: &Node) {
        let Some(text) = self.text(key, node) else { return };
        let is_second = self.draft.url.is_some();
        if is_second {
            self.drop("url", "the other address is the newer transport's");
        }
        if !is_second || key != "url" {
            let text = self.plain(key, &text);
            self.draft.url = Some(text);
        }
    }

    pub(super) fn headers(&mut self, key: &str, node: &Node) {
        for (name, value) in node.entries() {
            let place = format!("{key}.{}", shown(name));
            let Some(value) = value.scalar() else {
                self.drop(&place, "it is no text");
                continue;
            };
            if is_header_of_ours(name) {
                self.drop(&place, "it is set by portcullis itself");
                continue;
            }
            let value = self.resolved(&place, &value);
            if has_reference(&value) || !is_credential(name, &value) {
                self.draft.headers.push((name.clone(), value));
                continue;
            }
            let variable = variable_for(self.context.name, "TOKEN");
            let is_bearer = value.get(..7).is_some_and(|w| w.eq_ignore_ascii_case("bearer "));
            if is_bearer && name.eq_ignore_ascii_case("authorization") {
                self.secret(&place, &variable);
                self.draft.bearer = Some(variable);
                continue;
            }
            let variable = variable_for(self.context.name, name);
            self.secret(&place, &variable);
            self.draft.headers.push((name.clone(), format!("${{env:{variable}}}")));
        }
    }

    pub(super) fn variable_headers(&mut self, key: &str, node: &Node) {
        for (name, value) in node.entries() {
            match self.text(key, value) {
                Some(_) if is_header_of_ours(name) => {
                    self.drop(key, "it is set by portcullis itself");
                }
                Some(variable) => self.draft.env_headers.push((name.clone(), variable)),
                None => {}
            }
        }
    }

    /// Thousands are milliseconds: nobody waits that many seconds for a tool.
    pub(super) fn timeouts(&mut self, key: &str, node: &Node) {
        const THOUSAND: f64 = 1000.0;
        for (part, node) in node.entries() {
            self.timeouts(part, node);
        }
        let Node::Number(digits) = node else { return };
        let written: f64 = digits.parse().unwrap_or_default();
        let in_millis =
            key == "startup_timeout_ms" || (written >= THOUSAND && !key.ends_with("_sec"));
        let wanted = if in_millis { written / THOUSAND } else { written };
        let is_start = key.starts_with("startup");
        let range = if is_start { STARTUP_TIMEOUT_RANGE_S } else { TOOL_TIMEOUT_RANGE_S };
        let taken = wanted.clamp(*range.start(), *range.end());
        let here = if is_start { "startup_timeout_sec" } else { "tool_timeout_sec" };
        if key != here || taken.total_cmp(&wanted).is_ne() {
            self.change(key, format!("{digits} is {here} = {} now", seconds(taken)));
        }
        let place = if is_start { &mut self.draft.startup } else { &mut self.draft.tool_timeout };
        *place = Some(taken);
    }

    /// What `command` and `url` say already.
    pub(super) fn kind(&mut self, key: &str, node: &Node) {
        let word = node.text().unwrap_or_default().to_ascii_lowercase().replace(['-', '_'], "");
        match word.as_str() {
            "stdio" | "local" | "command" | "http" | "streamablehttp" | "remote" => {}
            "sse" => self.change(key, "which transport it speaks is found out"),
            _ => self.drop(key, "a command is started, a url is dialled"),
        }
    }

    fn plain(&mut self, key: &str, text: &str) -> String {
        self.rewritten(key, text, Spot::Plain)
    }

    fn resolved(&mut self, key: &str, text: &str) -> String {
        self.rewritten(key, text, Spot::Resolved)
    }

    fn rewritten(&mut self, key: &str, text: &str, spot: Spot) -> String {
        let known = Known {
            dialect: self.context.dialect,
            inputs: self.context.inputs,
            own: &self.own,
            around: self.around,
        };
        let Rewritten { text, changes, holes } = rewrite(text, known, spot);
        changes.into_iter().for_each(|change| self.change(key, change));
        for hole in holes {
            self.has_holes = true;
            self.change(key, format!("`{hole}` is not known here: fill in what stands in <>"));
        }
        text
    }

    fn path(&mut self, key: &str, path: String) -> String {
        if let Some(whole) = at_home(&path, self.around) {
            self.change(key, format!("`~` has no meaning here: now `{}`", shown(&whole)));
            return whole;
        }
        if path.contains('/') && !path.starts_with('/') {
            let why = "a relative path begins at the directory of servers.toml now";
            self.remarks.push(Remark::new(Fate::Warning, key, why));
        }
        path
    }

    fn secret(&mut self, place: &str, variable: &str) {
        let why = format!(
            "a literal secret is not taken over: set {variable} for the gateway, or write \
             ${{file:/path}} or ${{cred:NAME}}"
        );
        self.change(place.to_owned(), why);
    }
}

fn is_credential(name: &str, value: &str) -> bool {
    looks_secret(value) || (sounds_secret(name) && !value.is_empty())
}
