"""Every error the project raises on purpose, in one tree.

PmxError
├── SettingsError (ValueError)      a setting, a name or an argument is wrong; exit code 2
├── DataError (ValueError)          input data cannot be used; exit code 2
│   └── QualityError                the quality gate refused it
├── VendorError (RuntimeError)      a data vendor did not answer as documented
├── LlmError (RuntimeError)         a language model did not answer usably
├── LakeError (RuntimeError)        the block store cannot be read or written
│   ├── MissingValueError           nothing is stored under a key
│   └── CorruptBlockError           a stored block does not match its receipt
├── LedgerError (RuntimeError)      the ledger's database cannot be used
│   ├── NoRecordError               it keeps nothing under that name
│   ├── StaleVersionError           an alias has moved since its version was read
│   └── TakenKeyError               an idempotency key was used for something else
├── RegistryError (RuntimeError)    a model version cannot be kept, verified or served
├── NothingToServeError (RuntimeError)  no model has a signal that may be shown
├── EngineError (RuntimeError)      the machine lacks what a forecaster's engine needs
└── ClusterError (RuntimeError)     the Ray cluster cannot run what was asked

A message gives the value, the limit and what to do: ``purge was -1; it must be >= 0``.
"""


class PmxError(Exception):
    """Root of the project's errors."""


class SettingsError(PmxError, ValueError):
    """A setting, a name or an argument is wrong."""


class DataError(PmxError, ValueError):
    """Input data cannot be used."""


class QualityError(DataError):
    """The quality gate refused the data."""


class VendorError(PmxError, RuntimeError):
    """A data vendor did not answer as documented."""


class LlmError(PmxError, RuntimeError):
    """A language model did not answer usably."""


class LakeError(PmxError, RuntimeError):
    """The block store cannot be read or written."""


class MissingValueError(LakeError):
    """Nothing is stored under a key."""


class CorruptBlockError(LakeError):
    """A stored block does not match its receipt."""


class LedgerError(PmxError, RuntimeError):
    """The ledger's database cannot be used."""


class NoRecordError(LedgerError):
    """The ledger keeps nothing, or more than one thing, under a name."""


class StaleVersionError(LedgerError):
    """An alias has moved since its version was read."""


class TakenKeyError(LedgerError):
    """An idempotency key was used for something else."""


class RegistryError(PmxError, RuntimeError):
    """A model version cannot be kept, verified or served."""


class NothingToServeError(PmxError, RuntimeError):
    """No model has a signal that may be shown."""


class EngineError(PmxError, RuntimeError):
    """The machine lacks what a forecaster's engine needs."""


class ClusterError(PmxError, RuntimeError):
    """The Ray cluster cannot run what was asked."""
