"""A kernel to run the notebook's cells in."""

import nbformat


class Kernel:
    """Cells of one notebook and a kernel to run them in."""

    def __init__(self, client):
        self.client = client
        self.cells = client.nb.cells
        self.index = {cell.id: i for i, cell in enumerate(self.cells)}

    def cell(self, id):
        """The cell with this id, with its outputs as they are."""
        return self.cells[self.index[id]]

    def run(self, id):
        """Run the cell with this id; returns it, with its new outputs."""
        return self.client.execute_cell(self.cell(id), self.index[id])

    def run_all(self, after=None, until=None):
        """Run the code cells in order, of those after the id `after` and before the id `until`."""
        first = self.index[after] + 1 if after else 0
        for cell in self.cells[first : self.index.get(until)]:
            if cell.cell_type == "code":
                self.run(cell.id)

    def evaluate(self, source):
        """What a further cell with this source prints; the cell does not stay."""
        self.cells.append(nbformat.v4.new_code_cell(source))
        try:
            cell = self.client.execute_cell(self.cells[-1], len(self.cells) - 1)
        finally:
            self.cells.pop()
        return "".join(o.text for o in cell.outputs if o.output_type == "stream")
