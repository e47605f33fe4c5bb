"""Places of credentials in commands, texts and variables: no secret survives in any, and nothing honest changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podpower.specs.ndjson import request_from_dict
from podpower.specs.normalising import request_from_object
from podpower.specs.redaction import redact_mapping, redact_text, redact_value, redact_words
from tests.podpower.specs.manifests import deployment

# One command line a line; § is the secret.
COMMANDS = """\
--pw §
--pw=§
pw=§
--pin §
--pin=§
--adminpw §
--otp §
--psk=§
--passwort §
--api_jwt=§
htpasswd -b /etc/htpasswd user §
htpasswd -bc -B file user §
htpasswd -nb user §
vault login §
vault login -method=token §
vault operator unseal §
vault token revoke §
vault kv put secret/db value=§
aws configure set aws_secret_access_key §
aws --profile x configure set aws_session_token §
aws ssm put-parameter --name db --value §
az keyvault secret set --name x --value §
az storage blob list --account-key §
az login --service-principal -u id -p § --tenant t
gh secret set NAME -b §
gh secret set NAME --body §
kubectl create secret generic x --from-literal=db=§
kubectl create secret generic x --from-literal db=§
kubectl create secret docker-registry r --docker-password=§
docker login -u me -p § registry
docker login --password §
podman login -u me -p §
helm registry login -u me -p § host
curl -u me:§ https://x
curl -u me:§
curl --user me:§
curl -H X-Api-Key:§
wget --http-password=§ https://x
mysql -p§
mysql -uroot -p§ db
mysqladmin -u root password §
psql postgresql://u:§@host:5432/db
psql host=h user=u password=§
redis-cli -a §
redis-cli AUTH §
redis-cli config set requirepass §
redis-server --requirepass §
redis-server /etc/redis.conf requirepass §
mongo -u u -p §
mongosh mongodb+srv://u:§@host/db
sqlplus u/§@host
sqlplus -s u/§
expdp system/§@db full=y
java -jar x.jar jdbc:oracle:thin:u/§@host:1521:x
java -jar x.jar jdbc:postgresql://h/db?user=u&password=§
java -Dspring.datasource.password=§ -jar x.jar
mc alias set name https://host key §
mc config host add name https://host key §
rclone obscure §
rabbitmqctl add_user user §
rabbitmqctl change_password user §
openssl enc -aes-256-cbc -k §
openssl passwd -6 §
openssl rsa -passin pass:§
ssh-keygen -t rsa -N §
sshpass -p § ssh host
sshpass -p§ ssh host
smbclient //host/share § -U user
smbclient //host/share -U user%§
snmpwalk -v2c -c § host
snmpwalk -v3 -A § -u user host
ldapsearch -D cn=x -w §
ldappasswd -s §
ngrok authtoken §
ngrok config add-authtoken §
snyk auth §
doctl auth init -t §
codecov -t §
gitlab-runner register -r §
gpg --passphrase §
ipmitool -U u -P §
mosquitto_pub -u u -P §
keytool -storepass § -keypass §
unrar -p§ x.rar
zip -P § x.zip
pulumi config set --secret name §
pulumi config set dbPassword §
consul kv put app/db §
etcdctl put /app/db §
git config --global user.password §
npm config set //registry.npmjs.org/:_authToken §
npm config set //registry.npmjs.org/:_authToken=§
machine host login user password §
grafana-cli admin reset-admin-password §
cloudflared service install §
tailscale up --authkey §
--dsn=https://§@sentry.io/1
--set db.password=§,x=y
--conn AccountName=a;AccountKey=§;EndpointSuffix=x
--url https://a.blob.core.windows.net/c?sv=2024&sig=§
--url=https://a.blob.core.windows.net/c?sig=§&se=1
https://b.s3.amazonaws.com/k?X-Amz-Credential=§&X-Amz-Signature=§
https://storage.googleapis.com/b/k?X-Goog-Signature=§
https://host/cb?code=§
https://host/x?access_token=§
https://host/x?api_key=§
https://hooks.slack.com/services/§
https://api.telegram.org/bot§/sendMessage
amqp://u:§@host//
redis://:§@host:6379/0
u:§@tcp(db:3306)/x
""".splitlines()

# Texts with spaces and quotes, as of `sh -c` and of configuration in one argument.
TEXTS = """\
sleep 1; htpasswd -b /f user §; run
htpasswd -b /f user '§'
export X=1 && vault login §
vault login "§" && run
vault login -no-print § | cat
aws configure set aws_secret_access_key § && aws s3 ls
echo § | docker login --password-stdin -u me
echo '§' | docker login -u me --password-stdin registry
echo user:§ | chpasswd
printf § | sudo -S ls
redis-cli -h x AUTH §
sqlplus u/§@host @x.sql
curl -H 'Authorization: Basic §'
curl -H "Authorization: Bearer §" x
curl -H "PRIVATE-TOKEN: §" x
curl -d '{"pw": "§"}' x
curl --cookie "session=§" x
curl "https://x/y?sig=§&a=b"
mysql -e "CREATE USER a IDENTIFIED BY '§'"
mysql -e "ALTER USER a IDENTIFIED WITH mysql_native_password BY '§'"
psql -c "ALTER ROLE a WITH PASSWORD '§'"
mysql -e "SELECT PASSWORD('§')"
requirepass §
pin: §
otp = §
""".splitlines()

# Tokens by their form; § is 40 random characters.
FORMS = """\
ghp_§
github_pat_§
glpat-§
xoxb-1-§
xapp-1-§
sk-§
sk-proj-§
sk_live_§
hf_§
npm_§
pypi-§
dckr_pat_§
hvs.§
ya29.§
GOCSPX-§
AIza§
SG.§.§
tskey-auth-§
glsa_§
123456789:AA§
eyJ§.eyJ§.§
AKIAIOSFODNN7EXAMPLE
wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
$2b$12$§
$apr1$abcdefgh$§
""".splitlines()

# Command lines without a credential.
HONEST = """\
--pin-memory=true --spring.profiles=dev --pattern=x --path=/a/b --compat=1 --opt=1 --stop=9
gunicorn -k uvicorn.workers.UvicornWorker -w 4 -b 0.0.0.0:8000 --reload main:app
kubectl set image deployment/web web=nginx:1
kubectl config set-context --current --namespace=a
git config --global user.name me
npm config set registry https://r.example
redis-server --appendonly yes --maxmemory 256mb
vault server -config=/vault/config
vault status
openssl req -new -key /k.pem -out x.csr
consul agent -server -bind 0.0.0.0
etcdctl endpoint health
mc ls play/bucket
ssh-keygen -A
docker run -p 8080:80 nginx
docker network ls
codecov upload
snmpd -f -c /etc/snmpd.conf
gh release list
helm upgrade --install web chart/web --set image.tag=1.2
imp data.csv out.csv
https://host/search?q=code&page=2
echo ready
java -Xmx1g -XX:+UseG1GC -jar app.jar --server.port=8080
timeout 30s python3 k8s_collect.py watch --kinds Deployment Job
airflow scheduler -n 5
ldapsearch -x -b dc=example
""".splitlines()

OPAQUE = "9aB3xZ7kQ1mN5pR8sT2vW4yC6dF0gH3jL"
SECRETS = st.from_regex(r"[a-z]{2,8}[A-Z]{0,3}[0-9]{2,4}[a-zA-Z]{1,8}", fullmatch=True)


def kept_of(words: list[str]) -> str:
    """What is kept of a command line: as words, as a text, in a request and in a manifest."""
    container = {"name": "a", "image": "a", "command": words[:1], "args": words[1:]}
    request = request_from_dict({"workload_kind": "Pod", "workload_name": "w", "containers": [container]})
    manifest = request_from_object(deployment(command=words[:1], args=words[1:]))
    shell = request_from_object(deployment(command=["sh", "-c", " ".join(words)]))
    texts = [*(redact_words(words) or ()), redact_text(" ".join(words)), redact_text(f"run; {' '.join(words)}")]
    return "\n".join((*texts, str(request), str(manifest), str(shell)))


@pytest.mark.parametrize("line", COMMANDS)
def test_no_secret_survives_in_a_command_line(line: str) -> None:
    for secret in ("hunter2Hunter2", "Tr0ub4dor-3"):
        assert secret not in kept_of(line.replace("§", secret).split())


@pytest.mark.parametrize("text", TEXTS)
def test_no_secret_survives_in_a_text(text: str) -> None:
    text = text.replace("§", "hunter2Hunter2")
    assert "hunter2Hunter2" not in kept_of(["sh", "-c", text])
    assert "hunter2Hunter2" not in redact_mapping({"note": text})["note"]


@pytest.mark.parametrize("form", FORMS)
def test_no_token_survives_anywhere(form: str) -> None:
    token = form.replace("§", OPAQUE)
    for text in (token, f"x {token} y", f"a={token},b=c", f'{{"x": "{token}"}}', f"https://h/{token}/x"):
        assert token not in redact_text(text)
        assert token not in kept_of(["app", text])
        assert token not in redact_value("NAME", text)


@given(st.sampled_from(COMMANDS), SECRETS)
@settings(max_examples=300)
def test_no_secret_of_any_spelling_survives(line: str, secret: str) -> None:
    assert secret not in kept_of(line.replace("§", secret).split())


@given(st.lists(st.sampled_from([*COMMANDS, *TEXTS]), min_size=1, max_size=3), SECRETS)
@settings(max_examples=200)
def test_redacting_commands_twice_changes_nothing(lines: list[str], secret: str) -> None:
    text = " && ".join(lines).replace("§", secret)
    for words in (text.split(), ["sh", "-c", text]):
        once = redact_words(words)
        assert redact_words(once) == once


@pytest.mark.parametrize("line", HONEST)
def test_an_honest_command_line_stays(line: str) -> None:
    assert redact_words(line.split()) == line.split()
    assert redact_text(line) == line
