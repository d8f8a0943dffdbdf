"""Text for people."""


def table(head, rows):
    """Columns side by side; those of which all entries look like numbers are aligned to the right."""
    columns = [[str(cell) for cell in column] for column in zip(head, *rows)]
    lines = []
    for row in zip(*columns):
        cells = []
        for column, cell in zip(columns, row):
            numbers = all(entry == "" or entry[0].isdigit() or entry[0] in "+-" for entry in column[1:])
            width = max(map(len, column))
            cells.append(cell.rjust(width) if numbers else cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
