"""Words of a command that are credentials: values of short options (`mysql -pSECRET`, `curl -u USER:SECRET`), and
arguments by their position (`vault login SECRET`, `htpasswd -b FILE USER SECRET`).

`-p` means a password to some programs, a port, a path or a project to others. In this order:

1. To a program of _LETTERS it is a password, whatever its value.
2. To a program of _OTHER_P, as the first word of its command, it is none.
3. To any other program, and where the program is unknown (`args` of an image with an entrypoint), it is one unless the
   value is a port (`-p 8080`, `-p 80:80`), a path or a variable, or the word reads as another option (`-path`, `-pe`).

A text that is redacted without need costs a little accuracy, a credential that is kept costs trust.
"""

import re
from typing import Final

from podpower.specs.redaction.alternatives import either
from podpower.specs.redaction.names import REDACTED, is_reference, is_secret_name

NAMED = "named"  # kind of an option whose name shows that it takes a credential
PAIR = "pair"  # kind of an option that takes NAME=CREDENTIAL

# Letters of options, and the programs to which their values are credentials.
_LETTERS: Final = (
    ("p", r"mysql\w*|mariadb[\w-]*|sshpass|mongo\w*|cqlsh|7z\w?|rabbitmqadmin|couchbase-cli|login|rar|unrar|airflow"),
    ("a", r"(?:redis|valkey|keydb)-(?:cli|benchmark)"),
    ("wsa", r"ldappasswd"),
    ("w", r"ldap\w*"),
    ("P", r"sqlcmd|bcp|zip|unzip|ipmitool|mosquitto_\w+|isql|tsql"),
    ("kK", r"openssl"),
    ("NP", r"ssh-keygen"),
    ("cAX", r"snmp\w+"),
    ("tT", r"doctl|codecov\w*|glab|ngrok"),
    ("r", r"gitlab-runner"),
    ("b", r"gh"),
)
_PROGRAMS = re.compile("|".join(f"({pattern})" for _, pattern in _LETTERS))
# Programs, their subcommands ("": the program itself), and the argument from which on arguments are credentials.
_POSITIONS: Final = {
    "cloudflared": {"install": 0},
    "consul": {"put": 1},
    "etcdctl": {"put": 1},
    "grafana": {"reset-admin-password": 0},
    "grafana-cli": {"reset-admin-password": 0},
    "htpasswd": {"": 2},
    "mc": {"set": 2, "add": 2},
    "mysqladmin": {"password": 0},
    "net": {"user": 1},
    "ngrok": {"authtoken": 0, "add-authtoken": 0},
    "openssl": {"passwd": 0},
    "pulumi": {"set": 0},
    "rabbitmqctl": {"add_user": 1, "change_password": 1, "authenticate_user": 1},
    "rclone": {"obscure": 0},
    "redis-cli": {"auth": 0, "AUTH": 0},
    "smbclient": {"": 1},
    "snyk": {"auth": 0},
    "valkey-cli": {"auth": 0, "AUTH": 0},
    "vault": {"login": 0, "unwrap": 0, "unseal": 0, "revoke": 0, "put": 1, "write": 1},
    "vncpasswd": {"": 0},
}
_ORACLE: Final = frozenset({"sqlplus", "sqlldr", "sqlcl", "exp", "imp", "expdp", "impdp", "rman"})
_CONNECT = re.compile(r"([^/\s@]*+/)([^\s@]++)(@.*+)?", re.DOTALL)  # user/secret@db
_SETTERS: Final = frozenset({"set", "put", "add", "config", "setenv", "configure"})  # NAME VALUE
_ALONE: Final = frozenset({"requirepass", "masterauth"})  # settings of Redis, as words of a command or a text
_PROGRAM_WORDS: Final = (
    *sorted({*_POSITIONS, *_ORACLE, *_ALONE, *_SETTERS}),
    *(name for letters, names in _LETTERS if letters not in {"p", "P", "a", "w"} for name in names.split("|")),
)
# Patterns of which every text has one which holds a command with credentials, in lower case.
PREFILTER: Final = (
    rf"(?<![\w-])(?:{either(_PROGRAM_WORDS)})\s", r"secrets?\s", "put-parameter", "-user", "--from-l",
    r"(?<![^\s\"'(=`{;|&])-[puaw]",
)  # fmt: skip

_OTHER_P = re.compile(
    r"mkdir|nginx|cp|install|rsync|tar|perl|ps|ssh|scp|make|cargo|pytest|java|uwsgi|gunicorn|flask|tsc|npm|npx|yarn"
    r"|dotnet|kubectl|taskset|unshare|docker|podman|nerdctl|docker-compose|psql|pg_\w++"
)
_WRAPPERS = frozenset({"sudo", "exec", "env", "nohup", "time", "tini", "dumb-init", "sh", "bash", "--"})
_PORT = re.compile(r"(?:\d{1,5}|[\d.-]*:[\d.:-]*)(?:/(?:tcp|udp|sctp))?")
_OPTION_WORD = re.compile(r"[a-z._-]++(?:=.*)?", re.DOTALL)  # the rest of -path, -print, -pe, -port=8080
_PAIR = re.compile(r"(?P<user>[^:%\s]*+)(?P<sign>[:%])(?P<password>.*)", re.DOTALL)
_ANY_PROGRAM = frozenset("pPawuU")  # letters that can be a credential to an unknown program
_NEVER_ATTACHED = frozenset("kK")  # openssl: -key and -keyout are other options
_SHORT = len("-p")
_USER_FLAGS = frozenset({"--user", "-user", "--proxy-user", "--userpwd"})
_PAIR_FLAGS = frozenset({"--from-literal"})
_VALUE_FLAGS = frozenset({"--value", "--body"})  # of commands about a secret
_SECRET_OBJECTS = frozenset({"secret", "secrets", "put-parameter"})


class CommandReader:
    """Reads one command word by word, in order, and returns each word without its credential.

    What a word means depends on the words before it, which `read_word`, `read_option` and `read_value` remember.
    `kind_of_next` remembers nothing.
    """

    def __init__(self) -> None:
        self._letters = ""
        self._other_p = False
        self._named = False
        self._login = False
        self._connects = False
        self._sets = False
        self._about_secret = False
        self._subcommands: dict[str, int] = {}
        self._left: int | None = None  # arguments before the first that is a credential
        self._last = ("", "", "")

    def read_word(self, word: str) -> str:
        """Read a word that is not an option, and return it without its credential. The first is the program, a later
        one can be another program.
        """
        if self._count_argument(word):
            return word if is_reference(word) or word == "$" else REDACTED
        if self._connects and (pair := _CONNECT.fullmatch(word)) and not is_reference(pair[2]):
            return f"{pair[1]}{REDACTED}{pair[3] or ''}"
        program = word.rpartition("/")[2]
        if known := _PROGRAMS.fullmatch(program):
            self._letters += _LETTERS[(known.lastindex or 1) - 1][0]
        elif not self._named:
            self._other_p = _OTHER_P.fullmatch(program) is not None
        self._named = self._named or ("=" not in word and program not in _WRAPPERS)
        if program in _POSITIONS and self._subcommands is not _POSITIONS[program]:
            self._subcommands = _POSITIONS[program]
            self._left = self._subcommands.get("")
        elif program in self._subcommands:
            self._left = self._subcommands[program]
        self._connects = self._connects or program in _ORACLE
        self._sets = self._sets or program in _SETTERS
        self._about_secret = self._about_secret or program in _SECRET_OBJECTS
        self._last = (*self._last[1:], word)
        return word

    def _count_argument(self, word: str) -> bool:
        """Count an argument, and return True where it is a credential by its position."""
        before = self._last[-1]
        in_netrc = before == "password" and self._last[0] == "login"
        if in_netrc or before in _ALONE or (self._sets and _is_setting(before)):
            self._last = ("", "", "")
            return True
        if self._left is None:
            return False
        self._left -= 1
        return self._left < 0 and word not in self._subcommands

    def kind_of_next(self, flag: str) -> str:
        """Return the kind of the credential that the next word is, after an option without a value of its own; "" for
        none.
        """
        if flag in _USER_FLAGS:
            return "u"
        if flag in _PAIR_FLAGS:
            return PAIR
        if self._about_secret and flag in _VALUE_FLAGS:
            return NAMED
        takes = self._takes(flag[1])
        if len(flag) == _SHORT and takes:
            return flag[1]
        if flag[1] in self._letters or (takes and not _OPTION_WORD.fullmatch(flag, _SHORT)):
            return ""  # -pSECRET, not the option -pSECRET
        return NAMED if is_secret_name(flag) else ""

    def _takes(self, letter: str) -> bool:
        return letter in _ANY_PROGRAM or letter in self._letters

    def read_option(self, flag: str) -> str:
        """Read an option, and return it without the secret attached to it: -pSECRET, -p=SECRET, --user=USER:SECRET."""
        name, assigned, value = flag.partition("=")
        if assigned and name in _USER_FLAGS:
            return f"{name}={redacted_pair(value)}"
        if assigned and name in _PAIR_FLAGS:
            return f"{name}={self.read_value(PAIR, value)}"
        if assigned and self._about_secret and name in _VALUE_FLAGS:
            return f"{name}={self.read_value(NAMED, value)}"
        if self._subcommands is _POSITIONS["htpasswd"] and "n" in flag and not flag.startswith("--"):
            self._left = 1  # htpasswd -nb USER SECRET has no FILE
        if len(flag) <= _SHORT or not self._takes(flag[1]) or flag[1] in _NEVER_ATTACHED:
            return flag
        sign = "=" if flag[_SHORT] == "=" else ""
        value = flag[_SHORT + len(sign) :]
        return flag[:_SHORT] + sign + self.read_value(flag[1], value, attached=not sign)

    def read_value(self, kind: str, value: str, *, attached: bool = False) -> str:
        """Read the value of an option, and return it without its credential. `kind` is its letter, NAMED or PAIR."""
        if kind == PAIR:
            name, assigned, secret = value.partition("=")
            return value if is_reference(secret) else f"{name}{assigned}{REDACTED}"
        if kind in "uU":
            self._login = True
            return redacted_pair(value)
        if is_reference(value):
            return value
        if kind == NAMED or kind in self._letters:
            return REDACTED
        if kind != "p" or self._other_p or _PORT.fullmatch(value.strip("\"'")):
            return value
        # After a user (-uroot -psecret) it is a password even where it reads as an option.
        return value if attached and not self._login and _OPTION_WORD.fullmatch(value) else REDACTED


def _is_setting(word: str) -> bool:
    return len(word) <= 64 and is_secret_name(word)


def redacted_pair(value: str) -> str:
    """Return `user:password` without the password, `key:` without the key; `uid:gid`, URLs and `host:/path` stay.

    >>> redacted_pair("me:hunter2"), redacted_pair("1000:1000"), redacted_pair("host:/srv")
    ('me:<redacted>', '1000:1000', 'host:/srv')
    """
    pair = _PAIR.fullmatch(value.strip("\"'"))
    if pair is None:
        return value
    user, password = pair["user"], pair["password"]
    if not password:
        return value if user.isdigit() or is_reference(user) else f"{REDACTED}{pair['sign']}"
    if is_reference(password) or password.startswith("//") or (user.isdigit() and password.isdigit()):
        return value
    return f"{user}{pair['sign']}{REDACTED}"
