"""Short options that take a credential: `mysql -pSECRET`, `sshpass -p SECRET`, `curl -u USER:SECRET`.

`-p` means a password to some programs, a port, a path or a project to others. In this order:

1. To a program of _PROGRAMS it is a password, whatever its value.
2. To a program of _OTHER_P, as the first word of its command, it is none.
3. To any other program, and where the program is unknown (`args` of an image with an entrypoint), it is one unless the
   value is a port (`-p 8080`, `-p 80:80`), a path or a variable, or the word reads as another option (`-path`, `-pe`).

A text that is redacted without need costs a little accuracy, a credential that is kept costs trust.
"""

import re

from podpower.specs.secret_names import REDACTED, is_reference, is_secret_name

NAMED = "named"  # kind of an option whose name shows that it takes a credential

# Letter of the option, and the programs to which its value is a password.
_PROGRAMS = re.compile(
    r"(?P<p>mysql\w*+|mariadb[\w-]*+|sshpass|mongo\w*+|cqlsh|7z\w?+|rabbitmqadmin|couchbase-cli|login)"
    r"|(?P<a>(?:redis|valkey|keydb)-(?:cli|benchmark))"
    r"|(?P<w>ldap\w*+)"
    r"|(?P<P>sqlcmd|bcp|zip|unzip|ipmitool|mosquitto_\w++)"
)
_OTHER_P = re.compile(
    r"mkdir|nginx|cp|install|rsync|tar|perl|ps|ssh|scp|make|cargo|pytest|java|uwsgi|gunicorn|flask|tsc|npm|npx|yarn"
    r"|dotnet|kubectl|taskset|unshare|docker|podman|nerdctl|docker-compose|psql|pg_\w++"
)
_WRAPPERS = frozenset({"sudo", "exec", "env", "nohup", "time", "tini", "dumb-init", "sh", "bash", "--"})
_PORT = re.compile(r"(?:\d{1,5}|[\d.-]*:[\d.:-]*)(?:/(?:tcp|udp|sctp))?")
_OPTION_WORD = re.compile(r"[a-z._-]++(?:=.*)?", re.DOTALL)  # the rest of -path, -print, -pe, -port=8080
_PAIR = re.compile(r"(?P<user>[^:%\s]*+)(?P<sign>[:%])(?P<password>.*)", re.DOTALL)
_LETTERS = frozenset("pPawuU")
_SHORT = len("-p")
_USER_FLAGS = frozenset({"--user", "-user", "--proxy-user", "--userpwd"})


class CommandOptions:
    """Options of one command that take a credential, by the words seen so far."""

    def __init__(self) -> None:
        self._letters = ""
        self._other_p = False
        self._named = False
        self._login = False

    def see(self, word: str) -> None:
        """Read a word that is not an option: the first is the program, a later one can be another program."""
        program = word.rpartition("/")[2]
        known = _PROGRAMS.fullmatch(program)
        if known:
            self._letters += str(known.lastgroup)
        elif not self._named:
            self._other_p = _OTHER_P.fullmatch(program) is not None
        self._named = self._named or ("=" not in word and program not in _WRAPPERS)

    def awaited(self, flag: str) -> str:
        """Return the kind of the credential that the next word is, after an option without a value of its own; "" for
        none.
        """
        if flag in _USER_FLAGS:
            return "u"
        if len(flag) == _SHORT and flag[1] in _LETTERS:
            return flag[1]
        if flag[1] in self._letters or (flag[1] in _LETTERS and not _OPTION_WORD.fullmatch(flag, _SHORT)):
            return ""  # -pSECRET, not the option -pSECRET
        return NAMED if is_secret_name(flag) else ""

    def without_secret(self, flag: str) -> str:
        """Return an option without the secret attached to it: -pSECRET, -p=SECRET, --user=USER:SECRET."""
        name, assigned, value = flag.partition("=")
        if assigned and name in _USER_FLAGS:
            return f"{name}={redacted_pair(value)}"
        if len(flag) <= _SHORT or flag[1] not in _LETTERS:
            return flag
        sign = "=" if flag[_SHORT] == "=" else ""
        value = flag[_SHORT + len(sign) :]
        return flag[:_SHORT] + sign + self.redacted(flag[1], value, attached=not sign)

    def redacted(self, kind: str, value: str, *, attached: bool = False) -> str:
        """Return the value of an option, whose kind is its letter or NAMED, without its credential."""
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
