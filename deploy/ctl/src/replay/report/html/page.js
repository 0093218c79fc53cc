// What a reader without scripts does not need: filtering the cases, unfolding them, and opening the one that a link names.
(() => {
  const cases = [...document.querySelectorAll('.case')];
  const filter = document.querySelector('.filter');
  if (filter) {
    const stages = [...filter.querySelectorAll('[data-stage]')];
    const search = filter.querySelector('input');
    const unfold = filter.querySelector('.unfold');
    let stage = '';
    const show = () => {
      const words = search.value.trim().toLowerCase();
      for (const one of cases) {
        const fits = !stage || one.dataset.stage === stage;
        one.hidden = !fits || (words && !one.textContent.toLowerCase().includes(words));
      }
    };
    for (const button of stages) {
      button.addEventListener('click', () => {
        stage = button.dataset.stage;
        stages.forEach((other) => other.setAttribute('aria-pressed', String(other === button)));
        show();
      });
    }
    search.addEventListener('input', show);
    unfold.addEventListener('click', () => {
      const open = cases.some((one) => !one.hidden && !one.open);
      cases.forEach((one) => { one.open = open; });
      unfold.textContent = open ? 'fold all' : 'unfold all';
    });
    filter.hidden = false;
  }
  const follow = () => {
    const one = /^#case-\d+$/.test(location.hash) && document.querySelector(location.hash);
    if (one) {
      one.hidden = false;
      one.open = true;
      one.scrollIntoView();
    }
  };
  addEventListener('hashchange', follow);
  addEventListener('beforeprint', () => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
  follow();
})();
