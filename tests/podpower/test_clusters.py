import pytest

from podpower.clusters import cluster_of, configured_clusters, node_types
from podpower.errors import InvalidInput
from podpower.settings import Settings
from podpower.sources.kubernetes.access import cluster_config
from podpower.sources.prometheus.endpoint import endpoint_from

TWO = """\
clusters:
  - name: eu-1
    kubeconfig: /etc/eu-1.yaml
    context: admin
    namespaces: [shop, pay]
    prometheus:
      url: https://prometheus.eu-1.example
      token_env: EU1_TOKEN
      match: ['cluster="eu-1"']
  - name: eu-2
    in_cluster: true
    history_hours: 6
    node_type: m6g.large
    prometheus: {url: http://prometheus:9090, username: me, password_file: /run/password, verify_ssl: false}
"""


@pytest.fixture
def given(tmp_path):
    """Settings with a file of clusters; more variables by keyword."""

    def make(text, **environment):
        (tmp_path / "clusters.yaml").write_text(text)
        return Settings({"PODPOWER_CLUSTERS": str(tmp_path / "clusters.yaml"), "PODPOWER_HOME": "/home", **environment})

    return make


def test_each_cluster_has_the_settings_that_it_would_have_alone(given):
    settings = given(
        TWO,
        EU1_TOKEN="s3cret",
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        PODPOWER_PROMETHEUS_URL="http://other",
        PODPOWER_NAMESPACES="other",
        KUBECONFIG="/other",
        PODPOWER_KEEP_MODELS="7",
    )
    first, second = (cluster.settings() for cluster in configured_clusters(settings))
    assert (first.cluster.name, first.cluster.namespaces, first.cluster.context) == ("eu-1", ("shop", "pay"), "admin")
    access = cluster_config(first.cluster)
    assert (access.kubeconfig, access.context, access.around) == ("/etc/eu-1.yaml", "admin", None)
    endpoint = endpoint_from(first.prometheus)
    assert (endpoint.url, endpoint.match) == ("https://prometheus.eu-1.example", ('cluster="eu-1"',))
    assert endpoint.authorization() == {"Authorization": "Bearer s3cret"}
    access = cluster_config(second.cluster)
    assert (access.kubeconfig, access.context, access.around) == (None, None, "https://10.0.0.1:443")
    assert (second.cluster.history_hours, second.cluster.namespaces) == (6, ())
    assert (second.prometheus.username, second.prometheus.verify_tls, second.prometheus.token) == ("me", False, None)
    assert node_types(settings) == {"eu-2": "m6g.large"}
    assert node_types(Settings({"PODPOWER_NODE_TYPE": "m5.large"})) == {"": "m5.large"}
    assert first.assets.keep_models == second.assets.keep_models == 7


def test_the_first_cluster_keeps_the_places_of_one_cluster(given):
    first, second = (cluster.settings().places for cluster in configured_clusters(given(TWO, EU1_TOKEN="x")))
    assert (first.tables, first.recording(live=True)) == ("/home/tables", "/home/journal")
    assert (second.tables, second.recording(live=True)) == ("/home/tables/eu-2", "/home/clusters/eu-2/journal")
    assert first.model_store == second.model_store == "/home/models"


def test_without_a_file_there_is_the_cluster_of_the_environment():
    settings = Settings({"PODPOWER_CLUSTER": "prod"})
    [cluster] = configured_clusters(settings)
    assert (cluster.prefix, cluster.name, cluster.settings()) == ("", "prod", settings)


def test_limits_on_answers_hold_for_every_cluster(given):
    text = "clusters: [{name: a, in_cluster: true, prometheus: {url: 'http://prom'}}]"
    [cluster] = configured_clusters(given(text, PODPOWER_PROMETHEUS_MAX_SERIES="7", PODPOWER_PROMETHEUS_MATCH="a"))
    assert (cluster.settings().prometheus.max_series, cluster.settings().prometheus.match) == (7, ())


def test_how_much_is_labelled_and_kept_holds_for_every_cluster_that_does_not_set_it(given):
    settings = given(TWO, EU1_TOKEN="s3cret", PODPOWER_HISTORY_HOURS="48", PODPOWER_KEEP_JOURNAL_DAYS="3")
    first, second = (cluster.settings().cluster for cluster in configured_clusters(settings))
    assert (first.history_hours, second.history_hours) == (48, 6)
    assert first.keep_journal_days == second.keep_journal_days == 3


def test_a_context_is_one_of_the_common_kubeconfig(given):
    settings = given("clusters: [{name: a, context: one}, {name: b, context: two}]", KUBECONFIG="/both")
    found = [cluster_config(cluster.settings().cluster) for cluster in configured_clusters(settings)]
    assert [(config.kubeconfig, config.context) for config in found] == [("/both", "one"), ("/both", "two")]


def test_a_cluster_can_be_a_recording(given):
    [cluster] = configured_clusters(given("clusters: [{name: a, recording: /data/rec}]", PODPOWER_PROMETHEUS_URL="x"))
    settings = cluster.settings()
    assert (settings.places.recording(live=False), settings.prometheus.url) == ("/data/rec", None)


def test_an_entry_without_samples_has_no_meter(given):
    text = "clusters: [{name: a, recording: /r}, {name: b, context: x}, {name: c, context: y, prometheus: {url: http://p}}]"
    assert [cluster.has_meter for cluster in configured_clusters(given(text))] == [True, False, True]


def test_a_variable_that_is_not_set_concerns_its_cluster_only(given):
    first, second = configured_clusters(given(TWO))
    with pytest.raises(InvalidInput, match=r"cluster eu-1: prometheus.token_env names EU1_TOKEN, which is not set"):
        first.settings()
    assert second.settings().prometheus.url == "http://prometheus:9090"


def test_a_cluster_is_found_by_its_name_and_by_its_prefix(given):
    settings = given(TWO)
    assert [cluster_of(settings, name).prefix for name in ("eu-1", "", "eu-2")] == ["", "", "eu-2"]
    with pytest.raises(InvalidInput, match=r"no cluster 'eu-3' in .*: it has eu-1, eu-2"):
        cluster_of(settings, "eu-3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clusters: []", "length >= 1"),
        ("clusters: {a: b}", r"Expected `array`, got `object`"),
        ("[]", r"Expected `object`, got `array`"),
        ("", r"Expected `object`, got `null`"),
        ("clusters: [{context: x}]", r"missing required field `name`.*clusters\[0\]"),
        ("clusters: [{name: a, kubeconfg: x}]", r"unknown field `kubeconfg`.*clusters\[0\]"),
        ("clusters: [{name: a, context: x, prometheus: {uri: y}}]", r"unknown field `uri`.*clusters\[0\].prometheus"),
        ("clusters: [{name: a, context: x}, {name: a, context: y}]", "cluster 'a': its name is given twice"),
        ("clusters: [{name: a, context: x, in_cluster: true}]", "give one of kubeconfig or context and in_cluster"),
        ("clusters: [{name: a, recording: x, in_cluster: true}]", "give one of in_cluster and recording"),
        ("clusters: [{name: a}]", "give kubeconfig, context, in_cluster: true, or recording"),
        ("clusters: [{name: A/b, context: x}]", "a name has a-z, 0-9 and -"),
        ("clusters: [{name: a, recording: x, prometheus: {url: 'http://p'}}]", "a recording has its own samples"),
        ("clusters: [{name: a, context: x, prometheus: {url: 'p:9090'}}]", "must begin with http"),
        ("clusters: [{name: a, context: x, history_hours: -1}]", r"Expected `int` >= 0.*clusters\[0\].history_hours"),
        (
            "clusters: [{name: a, context: x, prometheus: {url: 'http://p', token_env: X, username: y}}]",
            "give one of token_env and username",
        ),
        (
            "clusters: [{name: a, context: x, prometheus: {url: 'http://p', password_env: X}}]",
            "a password needs a username",
        ),
        ("clusters:\n- name: a\n  context: x\n  context: y", "context is given twice, in lines 3 and 4"),
        ("clusters: [", "is no YAML: .*line 1"),
        ("[" * 5000, "is no YAML"),
    ],
)
def test_what_is_wrong_with_the_file_is_named(given, text, message):
    with pytest.raises(InvalidInput, match=rf"clusters\.yaml.*{message}") as raised:
        configured_clusters(given(text))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "prometheus",
    [
        "{url: 'http://p', token: hunter2}",
        "{url: 'http://p', username: me, password: hunter2}",
        "{url: 'http://me:hunter2@p'}",
        "{url: 'http://p', headers: {Authorization: hunter2}}",
    ],
)
def test_credentials_in_the_file_are_refused_and_not_shown(given, prometheus):
    with pytest.raises(InvalidInput, match="write ") as raised:
        configured_clusters(given(f"clusters: [{{name: a, context: x, prometheus: {prometheus}}}]"))
    assert "hunter2" not in str(raised.value)


def test_no_representation_shows_a_credential(given):
    [cluster, _] = configured_clusters(given(TWO, EU1_TOKEN="hunter2"))
    settings = cluster.settings()
    assert "hunter2" not in f"{cluster!r} {settings!r} {settings.prometheus!r}"
