/** What an inventory of principals may find, and the periods that it goes by where nothing else is asked for. */

export const findingNames = ['offboarded', 'unowned', 'dormant', 'over-scoped', 'never-seen'] as const;
/** The period, and after how long somebody is dormant, where nothing else is asked for. */
export const sinceDefaultDays = 90;
export const dormantDefaultDays = 30;
