# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova import errors, reasons


class ErrorsTest(unittest.TestCase):
    def test_every_reason_constant_is_documented(self):
        constants = {
            name for name in vars(errors.Reason) if not name.startswith('_')
        }
        self.assertEqual(set(errors.REASONS), constants)
        self.assertEqual(set(reasons.TABLE), constants)
        for name in constants:
            self.assertEqual(name, getattr(errors.Reason, name))
            self.assertTrue(errors.REASONS[name].endswith('.'), name)

    def test_reason_ids_are_plain_strings(self):
        # They go to JSON, SQL and signed tokens as they are.
        self.assertIs(str, type(errors.Reason.HOST_UNKNOWN))

    def test_every_kind_is_the_class_of_that_name(self):
        for reason, line in reasons.TABLE.items():
            self.assertEqual(
                line.kind, type(errors.from_reason(reason)).__name__
            )

    def test_message_defaults_to_the_table(self):
        error = errors.Untrusted(errors.Reason.HOST_UNTRUSTED)
        self.assertEqual(errors.REASONS['HOST_UNTRUSTED'], error.message)
        self.assertEqual(f'[HOST_UNTRUSTED] {error.message}', str(error))

    def test_details_are_copied(self):
        details = {'a': 'b'}
        error = errors.Conflict('IDENTITY_CONFLICT', 'x', details=details)
        details['a'] = 'c'
        self.assertEqual({'a': 'b'}, error.details)

    def test_fresh_errors_are_equal_but_for_where_they_were(self):
        for kept in (
            errors.Untrusted('HOST_UNTRUSTED', 'm', details={'a': 'b'}),
            errors.EvidenceError('QUOTE_MALFORMED', place='attest'),
            errors.Retry(),
        ):
            try:
                try:
                    raise KeyError('k')
                except KeyError as exc:
                    raise kept from exc
            except errors.KororaError:
                fresh = kept.fresh()
            self.assertIsNot(kept, fresh)
            self.assertIs(type(kept), type(fresh))
            self.assertEqual(
                (vars(kept), str(kept), kept.args),
                (vars(fresh), str(fresh), fresh.args),
            )
            self.assertIsNotNone(kept.__traceback__)
            for where in ('traceback', 'context', 'cause'):
                self.assertIsNone(getattr(fresh, f'__{where}__'))

    def test_evidence_error_names_its_place(self):
        error = errors.EvidenceError('QUOTE_MALFORMED', place='attest')
        self.assertEqual('attest', error.place)
        self.assertEqual({'place': 'attest'}, error.details)

    def test_from_reason_gives_the_class_of_each_reason(self):
        for reason in errors.REASONS:
            error = errors.from_reason(reason, 'm', {'k': 'v'})
            self.assertIsNot(errors.KororaError, type(error), reason)
            self.assertEqual(
                (reason, 'm', 'v'),
                (error.reason, error.message, error.details['k']),
            )

    def test_infrastructure_is_never_evidence(self):
        for reason in errors.REASONS:
            error = errors.from_reason(reason)
            if reason.endswith('_UNAVAILABLE'):
                self.assertIsInstance(error, errors.Unavailable)
            if reason.startswith(('QUOTE', 'IMA_LOG', 'UEFI', 'EK')):
                self.assertIsInstance(error, errors.EvidenceError)
            if isinstance(error, errors.Unavailable):
                self.assertEqual(503, error.code)

    def test_unknown_reason_keeps_the_class_of_its_code(self):
        self.assertIsInstance(
            errors.from_reason('NEW', code=409), errors.Conflict
        )
        self.assertIsInstance(
            errors.from_reason('NEW', code=503), errors.Unavailable
        )
        error = errors.from_reason('NEW', 'text', code=418)
        self.assertIs(errors.KororaError, type(error))
        self.assertEqual('[NEW] text', str(error))
