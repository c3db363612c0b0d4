# SPDX-License-Identifier: Apache-2.0
"""Whatever the input, a value or an error of the project comes out.

Bytes are those of ``tools/fuzz``'s targets, which runs millions of them;
documents are any JSON, and valid ones with a piece replaced.
"""

import functools
import json
import unittest

import hypothesis
from hypothesis import strategies as st

import tests.unit.tools  # noqa: F401  (tools/ is importable from here on)
from korora_nova import errors
from korora_nova.rats import eventlog, evidence, ima, policy, reference, state
from korora_nova.rats.signed import keys, result
from korora_nova.rats.tpm2 import objects
from korora_tools.fuzz import targets
from tests.support import simulator

QUICK = hypothesis.settings(
    deadline=None,
    database=None,
    max_examples=300,
    suppress_health_check=list(hypothesis.HealthCheck),
)
#: Longest valid input that is mutated, bytes.
MAX_SEED = 12_000

EXTREMES = (
    b'\0',
    b'\xff',
    b'\0\0\0\0',
    b'\xff\xff\xff\xff',
    b'\xff\xff\xff\x7f',
    b'\0\0\0\x80',
    b'\1\0\0\0',
    b'\n',
    b'"',
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ['', '\n', '00' * 32, 'sha256:' + '00' * 32, 2**64, -1, 1e400]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def typed(check, value):
    """Run it; only errors of the project may come out."""
    try:
        return check(value)
    except errors.KororaError as exc:
        assert exc.reason in errors.REASONS, exc.reason
        # What operators see must survive being stored and shown.
        json.dumps(exc.details)
        return None


@functools.cache
def seeds(name):
    return [
        seed for seed in targets.TARGETS[name].seeds() if len(seed) <= MAX_SEED
    ]


@st.composite
def near(draw, valid):
    """Valid bytes after a few changes, or any bytes."""
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 64)))
        new = draw(
            st.one_of(
                st.sampled_from(EXTREMES),
                st.binary(max_size=8),
                st.just(data[at:end] * 3),
            )
        )
        cut = draw(st.sampled_from(('replace', 'insert', 'delete', 'end')))
        if cut == 'replace':
            data = data[:at] + new + data[at + len(new) :]
        elif cut == 'insert':
            data = data[:at] + new + data[at:]
        else:
            data = data[:at] + (data[end:] if cut == 'delete' else b'')
    return data


def paths(document, path=()):
    """Every place in a document."""
    yield path
    if isinstance(document, (dict, list)):
        items = (
            document.items()
            if isinstance(document, dict)
            else enumerate(document)
        )
        for key, value in items:
            yield from paths(value, (*path, key))


def replaced(document, path, value):
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


@st.composite
def like(draw, valid):
    """A valid document with a piece replaced, removed or added."""
    places = list(paths(valid))
    path = draw(st.sampled_from(places))
    other = draw(
        st.one_of(
            JSON,
            st.sampled_from(places).map(
                lambda place: functools.reduce(
                    lambda found, step: found[step], place, valid
                )
            ),
        )
    )
    return replaced(valid, path, other)


class BytesTest(unittest.TestCase):
    def check(self, name):
        target = targets.TARGETS[name]
        valid = seeds(name)
        self.assertTrue(valid)

        @hypothesis.given(near(valid) | st.binary(max_size=200))
        @QUICK
        def run(data):
            typed(target.run, data)

        run()


for _name in targets.TARGETS:
    setattr(
        BytesTest,
        'test_' + _name.replace('-', '_'),
        functools.partialmethod(BytesTest.check, _name),
    )


def pinned(document):
    # Anything but a mapping is taken for the path of a file.
    return keys.KeyRing.load(
        document
        if isinstance(document, dict)
        else {'version': 1, 'cloud': document}
    )


@functools.cache
def documents():
    """Valid documents by what reads them."""
    host = simulator.SimHost()
    log = eventlog.parse(host.uefi_log)
    measured = ima.measure(host.ima_log, host.tpm.pcrs, [ima.Rules()])
    ring = keys.KeyRing.build(
        'cloud',
        **{use: [keys.SigningKey.generate().public] for use in keys.USES},
    )
    known = state.VerifiedState(
        {'sha256': host.tpm.pcrs}, objects.Clock(1, 2, 3, True), 4
    )
    values = reference.ReferenceValues(
        'x',
        {0: ('00' * 32,)},
        frozenset(['sha256:' + '00' * 32]),
        {0: ('11' * 32,)},
        log.compare(log.replay()).boot,
        5,
    )
    found = [
        (evidence.Evidence.from_json, host.attest(b'c' * 32)),
        (ima.State.from_json, measured.state),
        (pinned, ring),
        (state.VerifiedState.from_json, known),
        (reference.ReferenceValues.from_json, values),
    ]
    policies = [(policy.load, json.loads(seed)) for seed in seeds('policy')]
    boot = eventlog.boot_to_json(values.boot)
    return [
        *policies,
        (eventlog.boot_from_json, json.loads(json.dumps(boot))),
        *(
            (read, json.loads(json.dumps(value.to_json())))
            for read, value in found
        ),
    ]


class DocumentsTest(unittest.TestCase):
    def test_valid_ones(self):
        for read, document in documents():
            read(document)

    @hypothesis.given(st.data())
    @hypothesis.settings(QUICK, max_examples=1500)
    def test_a_piece_replaced(self, data):
        read, valid = data.draw(st.sampled_from(documents()))
        typed(read, data.draw(like(valid)))

    @hypothesis.given(st.data(), JSON)
    @hypothesis.settings(QUICK, max_examples=400)
    def test_any_document(self, data, document):
        read, _ = data.draw(st.sampled_from(documents()))
        typed(read, document)

    def test_deep_documents(self):
        deep: object = 'x'
        for _ in range(100_000):
            deep = [deep]
        nested: object = {'secure-boot': {'enabled': True}}
        for _ in range(5000):
            nested = {'any-of': [nested]}
        try:
            for read, valid in documents():
                for at in paths(valid):
                    if len(at) == 1:
                        typed(read, replaced(valid, at, deep))
                        typed(read, replaced(valid, at, [nested]))
        finally:
            # Taken apart step by step: freeing it recurses as well.
            while isinstance(deep, list):
                deep = deep.pop()


class TokensTest(unittest.TestCase):
    good = {
        'sub': 'h1',
        'ak_name': '00' * 34,
        'tier': 'affirming',
        'reasons': [],
        'iat': 1000.0,
        'exp': 2000.0,
        'cloud': 'cloud',
    }

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = keys.SigningKey.generate()
        others = [keys.SigningKey.generate().public for _ in range(2)]
        cls.ring = keys.KeyRing.build(
            'cloud',
            result=[cls.key.public],
            custody=others[:1],
            approval=others[1:],
        )
        cls.token = result.sign_result(
            result.Result(
                host='h1',
                ak_name='00' * 34,
                tier='affirming',
                reasons=(),
                enforcer='',
                issued=1000.0,
                expires=2000.0,
                cloud='cloud',
                issuer='korora:cloud',
            ),
            cls.key,
        )

    def verify(self, token):
        return result.verify_result(
            token, self.ring, host='h1', cloud='cloud', now=1500.0
        )

    def test_good(self):
        self.verify(self.token)

    @hypothesis.given(st.data())
    @hypothesis.settings(QUICK, max_examples=300)
    def test_any_text(self, data):
        text = data.draw(
            st.text(max_size=60)
            | JSON
            | near([self.token.encode()]).map(
                lambda data: data.decode(errors='replace')
            )
        )
        if typed(self.verify, text) is not None:
            # Only the spare bits of base64's last digits may differ.
            self.assertEqual(len(self.token), len(text))

    def test_times_that_never_come(self):
        for claim in ('iat', 'exp'):
            for value in (
                float('nan'),
                float('inf'),
                -float('inf'),
                10**400,
                -1,
                True,
            ):
                token = result.tokens.sign(
                    {**self.good, claim: value}, self.key, result.KIND, 'cloud'
                )
                with self.assertRaises(errors.Untrusted) as caught:
                    self.verify(token)
                self.assertEqual('RESULT_FORGED', caught.exception.reason)

    @hypothesis.given(
        st.dictionaries(
            st.sampled_from(
                (
                    'sub',
                    'ak_name',
                    'tier',
                    'reasons',
                    'iat',
                    'exp',
                    'cloud',
                    'iss',
                    'aud',
                    'version',
                    'x',
                )
            ),
            JSON,
            max_size=3,
        )
    )
    @hypothesis.settings(QUICK, max_examples=200)
    def test_any_claims_that_are_signed(self, changes):
        try:
            token = result.tokens.sign(
                {**self.good, **changes}, self.key, result.KIND, 'cloud'
            )
        except (TypeError, ValueError):
            return
        typed(self.verify, token)
