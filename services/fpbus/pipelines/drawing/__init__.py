"""Pictures of a pipeline's DAG. Only png and pdf need a program; nothing here needs a bus."""

from .dot import MissingProgramError as MissingProgramError
from .dot import NotDrawnError as NotDrawnError
from .drawing import draw as draw
from .reading import UnknownNodeError as UnknownNodeError
from .reading import view_of as view_of
from .view import DagEdge as DagEdge
from .view import DagNode as DagNode
from .view import DagView as DagView
from .view import DrawingFormat as DrawingFormat
from .view import NodeKind as NodeKind
