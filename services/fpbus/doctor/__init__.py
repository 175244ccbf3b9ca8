"""`fpbus doctor`: is all there that runs need, does it do what it should, and what is promised then."""

from .examination import Report as Report
from .examination import examine as examine
from .findings import Finding as Finding
from .findings import exit_code as exit_code
from .guarantees import Ground as Ground
from .guarantees import Guarantee as Guarantee
from .guarantees import guarantees_of as guarantees_of
