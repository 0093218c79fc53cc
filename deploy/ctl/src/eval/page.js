// What a reader without scripts does not need: sorting a table by a click on its head, and finding a row by a word.
(() => {
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const value = (row, at) => {
      const cell = row.cells[at];
      const number = Number(cell.dataset.v ?? NaN);
      return Number.isNaN(number) ? cell.textContent.toLowerCase() : number;
    };
    const sort = (at) => {
      const head = heads[at];
      const down = head.getAttribute('aria-sort') === 'ascending' || (head.getAttribute('aria-sort') === 'none' && head.classList.contains('n'));
      const way = down ? -1 : 1;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a, at), value(b, at)];
        return x < y ? -way : x > y ? way : 0;
      });
      body.append(...rows);
      heads.forEach((other) => other.setAttribute('aria-sort', other === head ? (down ? 'descending' : 'ascending') : 'none'));
    };
    heads.forEach((head, at) => {
      head.setAttribute('aria-sort', 'none');
      head.tabIndex = 0;
      head.addEventListener('click', () => sort(at));
      head.addEventListener('keydown', (event) => {
        if (event.key === 'Enter' || event.key === ' ') {
          event.preventDefault();
          sort(at);
        }
      });
    });
  }
  for (const find of document.querySelectorAll('.find')) {
    const rows = document.querySelectorAll(`#${find.dataset.of} tbody tr, #${find.dataset.of} .wrongs > li`);
    find.addEventListener('input', () => {
      const words = find.value.trim().toLowerCase();
      rows.forEach((row) => { row.hidden = words && !row.textContent.toLowerCase().includes(words); });
    });
    find.hidden = false;
  }
  addEventListener('beforeprint', () => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
})();
