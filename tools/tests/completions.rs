//! The completions of `contrib/completions` are what the table of commands gives (`UPDATE_EXPECT=1` writes them), and bash
//! offers with them what it should.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dlm_tools::commands::{Argument, COMMANDS, Entry, LETTERS, LONG};
use expect_test::{ExpectFile, expect_file};
use std::path::Path;
use std::process::Command;

const HEAD: &str = "# Generated from tools/src/commands.rs by tools/tests/completions.rs.\n";

/// What a shell asks for what can stand behind a command; a line each.
const LOCKSPACES: &str = "dlm_tool ls 2>/dev/null | sed -n 's/^name  *//p'";
/// Only nodes whose fencing is due: an acknowledgement of another is refused, or a mistake.
const NODES: &str = "dlm_tool status 2>/dev/null | sed -n 's/^fence \\([0-9]*\\) .*/\\1/p'";
const SETTINGS: &str = "dlm_tool dump_config 2>/dev/null | sed -n 's/^\\([a-z_]*\\)=.*/\\1=/p'";
const UUIDS: &str = "dlm_tool run_list 2>/dev/null | sed -n 's/^run_uuid \\([^ ]*\\) .*/\\1/p'";
/// The commands that other nodes carry out.
const WORDS: &str = "printf '%s\\n' lvm lvs lvchange";

/// What is behind these commands, with the shell's question for it.
fn questions() -> Vec<(Vec<&'static str>, &'static str)> {
    let names = |wanted: &[Argument]| -> Vec<&'static str> {
        let entries = COMMANDS.iter().filter(|entry| wanted.contains(&entry.argument));
        entries.map(|entry| entry.name).collect()
    };
    vec![
        (names(&[Argument::AnyLockspace, Argument::Lockspace]), LOCKSPACES),
        (names(&[Argument::Node]), NODES),
        (names(&[Argument::Settings]), SETTINGS),
        (names(&[Argument::Uuid]), UUIDS),
        (names(&[Argument::Words]), WORDS),
    ]
}

/// The commands behind which a file stands, and those that want the word `save` before it.
fn with_files() -> [Vec<&'static str>; 2] {
    [Argument::File, Argument::SaveFile].map(|wanted| {
        let entries = COMMANDS.iter().filter(|entry| entry.argument == wanted);
        entries.map(|entry| entry.name).collect()
    })
}

/// The options of a command, each with its dash.
fn options(entry: &Entry) -> Vec<String> {
    let json = entry.json.then(|| "--json".to_owned());
    entry.letters.chars().map(|letter| format!("-{letter}")).chain(json).collect()
}

/// Options that stand without a command.
fn all_options() -> String {
    let letters = LETTERS.iter().map(|letter| format!("-{}", letter.letter));
    let long = LONG.iter().map(|(name, _)| format!("--{name}"));
    letters.chain(long).collect::<Vec<_>>().join(" ")
}

fn names(separator: &str) -> String {
    COMMANDS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(separator)
}

/// Arms of a case for bash and zsh: each command's options.
fn option_arms(print: impl Fn(&str) -> String) -> String {
    COMMANDS
        .iter()
        .filter(|entry| !options(entry).is_empty())
        .map(|entry| {
            format!("            {}) {} ;;\n", entry.name, print(&options(entry).join(" ")))
        })
        .collect()
}

fn bash() -> String {
    let arms = option_arms(|options| format!("_dlm_tool_offer \"$word\" {options}"));
    let questions: String = questions()
        .iter()
        .map(|(names, question)| {
            let nospace =
                if *question == SETTINGS { "; compopt -o nospace 2>/dev/null" } else { "" };
            format!(
                "        {})\n            mapfile -t found < <({question})\n            \
                 _dlm_tool_offer \"$word\" \"${{found[@]}}\"{nospace}\n            ;;\n",
                names.join(" | ")
            )
        })
        .collect();
    let [file, save] = with_files().map(|names| names.join(" | "));
    format!(
        r#"# bash completion for dlm_tool
{HEAD}
# Those of the words behind the first that begin with it. They are the daemon's: never to be expanded by the shell.
_dlm_tool_offer() {{
    local word=$1 offered
    shift
    for offered; do
        [[ $offered == "$word"* ]] && COMPREPLY+=("$(printf %q "$offered")")
    done
}}

_dlm_tool_files() {{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}}

_dlm_tool() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command='' at
    local -a found
    COMPREPLY=()
    case ${{COMP_WORDS[COMP_CWORD - 1]}} in
        -e | -f) _dlm_tool_offer "$word" 0 1; return ;;
        -m | -i) return ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${{COMP_WORDS[at]}} in
            {}) command=${{COMP_WORDS[at]}}; break ;;
        esac
    done
    if [[ $word == -* ]]; then
        case $command in
            '') _dlm_tool_offer "$word" {} ;;
{arms}        esac
        return
    fi
    case $command in
        '') _dlm_tool_offer "$word" {} ;;
{questions}        {file}) _dlm_tool_files "$word" ;;
        {save})
            if ((at == COMP_CWORD - 1)); then _dlm_tool_offer "$word" save; else _dlm_tool_files "$word"; fi
            ;;
    esac
}}

complete -F _dlm_tool dlm_tool
"#,
        names(" | "),
        all_options(),
        names(" "),
    )
}

fn zsh() -> String {
    let arms = option_arms(|options| format!("compadd -- {options}"));
    let described: String = COMMANDS
        .iter()
        .map(|entry| format!("        '{}:{}'\n", entry.name, entry.about))
        .collect();
    let questions: String = questions()
        .iter()
        .map(|(names, question)| {
            let nospace = if *question == SETTINGS { " -S ''" } else { "" };
            format!(
                "        {}) compadd{nospace} -- ${{(f)\"$({question})\"}} ;;\n",
                names.join("|")
            )
        })
        .collect();
    let [file, save] = with_files().map(|names| names.join("|"));
    format!(
        r#"#compdef dlm_tool
{HEAD}
_dlm_tool() {{
    local command='' at
    local -a commands
    commands=(
{described}    )
    case ${{words[CURRENT - 1]}} in
        -e|-f) compadd -- 0 1; return ;;
        -m|-i) return ;;
    esac
    for ((at = 2; at < CURRENT; at++)); do
        case ${{words[at]}} in
            {}) command=${{words[at]}}; break ;;
        esac
    done
    if [[ ${{words[CURRENT]}} == -* ]]; then
        case $command in
            '') compadd -- {} ;;
{arms}        esac
        return
    fi
    case $command in
        '') _describe command commands ;;
{questions}        {file}) _files ;;
        {save}) if ((at == CURRENT - 1)); then compadd -- save; else _files; fi ;;
    esac
}}

_dlm_tool "$@"
"#,
        names("|"),
        all_options(),
    )
}

fn fish() -> String {
    let mut out = format!(
        r"# fish completion for dlm_tool
{HEAD}
# The command among the words.
function __dlm_tool_command
    for word in (commandline -opc)[2..-1]
        if contains -- $word {}
            echo $word
            return 0
        end
    end
    return 1
end

# Is it one of these?
function __dlm_tool_is
    set -l command (__dlm_tool_command)
    and contains -- $command $argv
end

# Is a recording to be saved, with only its file missing?
function __dlm_tool_saves
    __dlm_tool_is record
    and contains -- save (commandline -opc)
end

complete -c dlm_tool -f
",
        names(" ")
    );
    for entry in COMMANDS {
        out += &format!(
            "complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a {} -d '{}'\n",
            entry.name, entry.about
        );
    }
    for (names, question) in questions() {
        let question = question.replace('\\', "\\\\").replace('\'', "\\'");
        out += &format!(
            "complete -c dlm_tool -n '__dlm_tool_is {}' -a '({question})'\n",
            names.join(" ")
        );
    }
    let [file, save] = with_files().map(|names| names.join(" "));
    out += &format!(
        "complete -c dlm_tool -n '__dlm_tool_is {file}; or __dlm_tool_saves' -F\n\
         complete -c dlm_tool -n '__dlm_tool_is {save}; and not __dlm_tool_saves' -a save\n"
    );
    for letter in LETTERS {
        let of: Vec<&str> = COMMANDS
            .iter()
            .filter(|entry| entry.letters.contains(letter.letter))
            .map(|entry| entry.name)
            .collect();
        let when = if of.is_empty() {
            "not __dlm_tool_command >/dev/null".to_owned()
        } else {
            format!("__dlm_tool_is {}", of.join(" "))
        };
        let value = match letter.value {
            None => String::new(),
            Some("0|1") => " -x -a '0 1'".to_owned(),
            Some(_) => " -x".to_owned(),
        };
        out += &format!(
            "complete -c dlm_tool -n '{when}' -s {}{value} -d '{}'\n",
            letter.letter,
            letter.about.replace('\'', "\\'")
        );
    }
    let queries: Vec<&str> =
        COMMANDS.iter().filter(|entry| entry.json).map(|entry| entry.name).collect();
    for (name, about) in LONG {
        let when = match name {
            "json" => {
                format!("not __dlm_tool_command >/dev/null; or __dlm_tool_is {}", queries.join(" "))
            }
            _ => "not __dlm_tool_command >/dev/null".to_owned(),
        };
        out += &format!("complete -c dlm_tool -n '{when}' -l {name} -d '{about}'\n");
    }
    out
}

#[test]
fn completions_are_those_of_the_table() {
    let files: [(ExpectFile, String); 3] = [
        (expect_file!["../../contrib/completions/dlm_tool.bash"], bash()),
        (expect_file!["../../contrib/completions/_dlm_tool"], zsh()),
        (expect_file!["../../contrib/completions/dlm_tool.fish"], fish()),
    ];
    for (file, text) in files {
        file.assert_eq(&text);
    }
    // Texts stand between single quotes there.
    assert!(COMMANDS.iter().all(|entry| !entry.about.contains('\'')));
}

/// A daemon's answers, one lockspace of which has a name that a shell must not carry out.
const DAEMON: &str = r#"
dlm_tool() {
    case $1 in
        ls) printf 'dlm lockspaces\nname          %s\nid            0x1\n\n' 'fs' 'f$(touch "$made")' ;;
        status) printf 'fence 3 nodedown pid 0 actor 1\nnode 2 M add 1\nnode 3 X add 1\n' ;;
        dump_config) printf 'post_join_delay=30\nport=21064 (dlm.conf)\n\n' ;;
        run_list) printf 'run_uuid ab-cd start_nodeid 1\nrun_command lvm lvs\n\n' ;;
    esac
}
"#;

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let made = std::env::temp_dir().join(format!("dlm-tool-completions-{}", std::process::id()));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/completions/dlm_tool.bash");
    let script = format!(
        "{DAEMON}\nsource '{}'\nCOMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))\n_dlm_tool\n\
         [ ${{#COMPREPLY[@]}} = 0 ] || printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script, "bash", "dlm_tool"])
        .args(words)
        .env("made", &made)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!made.exists(), "a lockspace's name was carried out");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_offers_what_can_stand_there() {
    assert_eq!(offered(&[""]).len(), COMMANDS.len());
    assert_eq!(offered(&["ex"]), ["explain"]);
    assert_eq!(offered(&["-n", "l"]), ["ls", "log_plock", "lockdebug", "lockdump", "leave"]);
    assert_eq!(offered(&["explain", "f"]), ["fs", r#"f\$\(touch\ \"\$made\"\)"#]);
    assert_eq!(offered(&["fence_ack", ""]), ["3"]);
    assert_eq!(offered(&["set_config", "po"]), ["post_join_delay=", "port="]);
    assert_eq!(offered(&["run_check", ""]), ["ab-cd"]);
    assert_eq!(offered(&["run", "--", "lvm", "lvc"]), ["lvchange"]);
    assert_eq!(offered(&["ls", "-"]), ["-n", "--json"]);
    assert_eq!(offered(&["join", "-e", ""]), ["0", "1"]);
    assert_eq!(offered(&["--j"]), ["--json"]);
    assert!(offered(&["join", ""]).is_empty() && offered(&["run", "-i", ""]).is_empty());
    assert_eq!(offered(&["record", ""]), ["save"]);
    for words in [&["replay"][..], &["record", "save"]] {
        assert_eq!(offered(&[words, &["tests/pages/r"]].concat()), ["tests/pages/running.prom"]);
    }
}
